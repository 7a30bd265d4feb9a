package transfer

import (
	"context"
	"time"

	"wepp.example/backup/internal/source"
)

const (
	// smallLag in bytes of the source's log is what a cut-over catches up with at once.
	smallLag = 4 << 20
	// followPause lies between two looks at the lag.
	followPause = 500 * time.Millisecond
)

func (r *run) live(ctx context.Context, words Words) error {
	if err := r.Source.SweepChannels(ctx, r.Report); err != nil {
		return err
	}
	channel, held, err := r.Source.OpenChannel(ctx, r.plan.Source.Superuser, r.Report)
	if err != nil {
		return err
	}
	r.later(func() { channel.Close(r.Report) })
	defer held.Release()
	shape, err := held.Shape(ctx)
	if err != nil {
		return err
	}
	there, err := r.copyAcross(ctx, held)
	if err != nil {
		return err
	}
	held.Release()
	channel.EndSnapshot()
	link, err := r.catchUp(ctx, channel)
	// A change of definitions shows itself in many ways; this is the one that can be mended.
	if changed := r.sameShape(ctx, shape); changed != nil && ctx.Err() == nil {
		return changed
	}
	if err != nil {
		return err
	}
	r.lap("follow")
	lag, err := channel.Position(ctx)
	if err != nil {
		return err
	}
	if err := r.await(ctx, words, there, lag); err != nil {
		return err
	}
	return r.cutOver(ctx, channel, link, shape, words)
}

// catchUp subscribes and takes in what was written since the held moment.
func (r *run) catchUp(ctx context.Context, channel *source.Channel) (*subscription, error) {
	link, err := r.subscribe(ctx, channel)
	if err != nil {
		return nil, err
	}
	if err := r.follow(ctx, channel, link); err != nil {
		return nil, err
	}
	if err := r.refreshViews(ctx); err != nil {
		return nil, err
	}
	return link, r.follow(ctx, channel, link)
}

// follow waits until the changes that have not arrived yet are few.
func (r *run) follow(ctx context.Context, channel *source.Channel, link *subscription) error {
	var first int64
	for quiet := 0; quiet < 2; {
		lag, err := channel.Position(ctx)
		if err != nil {
			return err
		}
		if err := link.well(ctx); err != nil {
			return err
		}
		first = max(first, lag)
		r.Report.Progress("following", first-lag, first)
		if lag <= smallLag {
			quiet++
		} else {
			quiet = 0
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(followPause):
		}
	}
	return nil
}
