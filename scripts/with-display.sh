#!/bin/sh
# Run a command on the current display, or on a virtual one if there is none.
# With --virtual, always use a virtual display, so that tests open no window on the desktop.
set -eu
virtual=0
if [ "$1" = --virtual ]; then
    virtual=1
    shift
fi
if [ "$(uname -s)" != Linux ]; then
    exec "$@"
fi
if [ "$virtual" = 0 ] && [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
    exec "$@"
fi
exec xvfb-run --auto-servernum --server-args="-screen 0 1600x1000x24" "$@"
