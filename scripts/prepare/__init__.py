"""What has to hold before a stack is started: settings, checks, images, overlays, whose project it is."""
