# A root of Debian 12 in a scratch folder, in namespaces in which everything happens, so that mounts and processes go with
# them. Sourced by tests/clean-room and tests/packages; needs root, and tests/install-packages ci. Packages come from where
# this computer gets its own. Nothing is left but .cache/debs, which saves the next root the downloads.
# shellcheck shell=bash
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
say() { printf '== %s: %s (%d s)\n' "${0##*/}" "$*" "$SECONDS"; }
fail() { echo "${0##*/}: $*" >&2; exit 1; }

# Starts the script again inside, with --inside FOLDER and these arguments; returns there only, with them and $room set.
in_a_room() {
    if [ "${1:-}" = --inside ]; then
        room=$2
        root=$room/root debs=$repository/.cache/debs
        return
    fi
    [ "$(id -u)" = 0 ] || fail "needs root, to make a root folder of its own"
    room=$(mktemp -d "${TMPDIR:-/tmp}/encore-${0##*/}.XXXXXX")
    child=
    clean_up() {
        [ -z "$child" ] || kill -KILL "$child" 2>/dev/null || true
        wait
        rm -rf --one-file-system "$room"
    }
    trap clean_up EXIT
    trap 'exit 130' INT TERM HUP
    unshare --mount --pid --fork --kill-child --mount-proc "$0" --inside "$room" "$@" </dev/null &
    child=$!
    status=0
    wait "$child" || status=$?
    child=
    exit "$status"
}

# What this computer's apt knows of Debian 12: mirrors and how they are reached, never a name of our own.
sources() {
    apt-get indextargets --format '$(ORIGIN) $(CODENAME) deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        sed -n 's/^Debian bookworm[^ ]* //p' | sort -u
}

# Makes $root with these packages (a,b,c) and no others, and what programs expect mounted.
make_root() {
    sources >"$room/debian.list"
    if ! [ -s "$room/debian.list" ]; then
        apt-get -qq update
        sources >"$room/debian.list"
    fi
    [ -s "$room/debian.list" ] || fail "this computer's apt has no source of Debian 12"
    apt-config dump | grep -E '^Acquire::(Check-|http|https|ftp|Retries|ForceIPv)' >"$room/apt.conf" || true
    mmdebstrap --quiet --mode=root --variant=minbase --include="$1" --aptopt="$room/apt.conf" \
        --dpkgopt=force-unsafe-io bookworm "$root" "$room/debian.list"

    # The downloads of earlier rooms, and of this computer where it kept them; apt checks each.
    mkdir -p "$debs"
    find /var/cache/apt/archives -maxdepth 1 -name '*.deb' -exec cp -lu -t "$debs" {} + 2>/dev/null ||
        find /var/cache/apt/archives -maxdepth 1 -name '*.deb' -exec cp -u -t "$debs" {} +
    mkdir -p "$debs/partial"
    mount --bind "$debs" "$root/var/cache/apt/archives"
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    mount -t tmpfs tmpfs "$root/run"
}
