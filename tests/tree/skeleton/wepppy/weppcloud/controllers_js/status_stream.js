/* Messages of a run over the status websocket. */
function StatusStream(runid, channel, show) {
    var scheme = window.location.protocol === "https:" ? "wss://" : "ws://";
    var socket = new WebSocket(scheme + window.location.host + "/weppcloud-microservices/status/" + runid + ":" + channel);
    socket.onopen = function () { socket.send(JSON.stringify({ type: "init" })); };
    socket.onmessage = function (event) {
        var frame = JSON.parse(event.data);
        if (frame.type === "ping") { socket.send(JSON.stringify({ type: "pong" })); }
        if (frame.type === "status") { show(frame.data); }
    };
    return socket;
}
