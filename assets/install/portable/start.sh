#!/bin/sh
# Plays what lies beside this folder: one bundle at once, several in a window to choose from. With arguments it is the
# command line: start.sh run X.encore, start.sh --help. Works without permission bits: sh start.sh
player=$(cd "$(dirname "$0")" && pwd) || exit 1
folder=$(dirname "$player")

# Where programs cannot be started (a file system that knows no permissions, a stick mounted noexec), they run from a
# copy, which goes when they end. The bundle stays where it is.
copy=
if ! [ -x "$player/bin/encore" ]; then
    mkdir -p "${XDG_CACHE_HOME:-$HOME/.cache}" 2>/dev/null
    copy=$(mktemp -d "${XDG_CACHE_HOME:-$HOME/.cache}/encore-portable.XXXXXX" 2>/dev/null) ||
        copy=$(mktemp -d "/tmp/encore-portable.XXXXXX") || exit 1
    trap 'rm -rf "$copy"' EXIT
    trap 'exit 130' INT TERM HUP
    cp -R "$player/bin" "$player/lib" "$player/share" "$player/trust" "$copy/" && chmod -R u+rwX "$copy" &&
        chmod 755 "$copy"/bin/* || exit 1
    player=$copy
fi
play() {
    if [ -n "$copy" ]; then
        "$@"
        exit $?
    fi
    exec "$@"
}
[ $# -eq 0 ] || play "$player/bin/encore" "$@"

set -- "$folder"/*.encore
if [ $# -eq 1 ] && [ -e "$1" ]; then
    play "$player/bin/encore" run --message-box "$1"
elif [ -e "$player/bin/encore-kiosk" ]; then
    play "$player/bin/encore-kiosk" --catalog "$folder" --window 1280x800
fi
play "$player/bin/encore" --help
