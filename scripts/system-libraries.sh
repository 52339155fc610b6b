#!/bin/sh
# Install the libraries that Qt and OpenGL load at run time, with apt if it is permitted.
# Otherwise print their names. Does nothing if all are installed.
set -eu
[ "$(uname -s)" = Linux ] || exit 0

packages="xvfb xauth libegl1 libgl1 libopengl0 libglu1-mesa libdbus-1-3 libfontconfig1
libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0
libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libxcb-xkb1 fonts-dejavu-core"

if ! command -v dpkg-query >/dev/null; then
    command -v Xvfb >/dev/null || echo "Install your system's Xvfb, OpenGL (libEGL, libGL) and libxcb packages if the window does not open." >&2
    exit 0
fi
missing=""
for package in $packages; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "install ok installed" ||
        missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    sudo=""
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    sudo="sudo"
else
    echo "These system libraries are missing; install them with: sudo apt-get install$missing" >&2
    exit 0
fi
echo "Installing system libraries:$missing"
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
