#include "player/kiosk_install.h"

#include "appliance-format/output_file.h"
#include "player/user_folders.h"
#include "vmm/base/shell_word.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <span>
#include <sys/stat.h>
#include <unistd.h>

namespace player {

namespace {

namespace fs = std::filesystem;

constexpr const char* kMark = "Written by: encore kiosk install";
constexpr const char* kPackageMark = "Part of the package encore-kiosk";

constexpr const char* kSystemScript = "/usr/local/lib/encore/kiosk-session";
constexpr const char* kPackagedScript = "/usr/lib/encore/kiosk-session";

// An argument in a unit's ExecStart (systemd.service(5), "Command lines"): quoted, specifiers and variables
// off.
std::string unit_word(const std::string& text) {
    std::string word = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\')
            word += '\\';
        if (c == '%' || c == '$')
            word += c;
        word += c;
    }
    return word + "\"";
}

// The same in a desktop entry's Exec (Desktop Entry Specification 1.5, "The Exec key"): escaped twice, once
// as an argument and once as a string.
std::string desktop_word(const std::string& text) {
    std::string word = "\"";
    for (const char c : text) {
        if (std::strchr("\"`$\\", c) != nullptr)
            word += c == '\\' ? "\\\\\\" : "\\\\";
        if (c == '%')
            word += c;
        word += c;
    }
    return word + "\"";
}

std::string session_script(const KioskPlan& plan) {
    std::string command = base::shell_word(plan.program);
    for (const std::string& argument : plan.arguments)
        command += " " + base::shell_word(argument);
    // An administrator's, which has a catalog of its own, is what the package's choices at the log-in screen
    // start.
    const std::string first =
        plan.packaged ? fmt::format("[ ! -x {0} ] || exec {0}\n\n", kSystemScript) : std::string();
    return fmt::format(R"(#!/bin/sh
# {}
# The whole of an X session, or of the Wayland compositor cage: no window manager, no desktop, nothing to get out
# to. Ends when staff leave the kiosk; starts it again when it dies.

{}# A home that cannot be written will do: what sessions write goes elsewhere, and away with this one.
writable() {{ mkdir -p "$1" 2>/dev/null && [ -w "$1" ]; }}
if ! writable "${{XDG_CACHE_HOME:-$HOME/.cache}}" || ! writable "${{XDG_STATE_HOME:-$HOME/.local/state}}"; then
    for place in "$TMPDIR" /var/tmp "$XDG_RUNTIME_DIR" /tmp; do
        scratch=
        [ -z "$place" ] || scratch=$(mktemp -d "$place/encore-kiosk.XXXXXX" 2>/dev/null) && [ -n "$scratch" ] && break
    done
    if [ -z "$scratch" ]; then
        echo "kiosk-session: there is no folder that can be written; set TMPDIR to one" >&2
        exit 1
    fi
    trap 'rm -rf "$scratch"' EXIT
    export XDG_CACHE_HOME="$scratch/cache" XDG_STATE_HOME="$scratch/state"
fi

if [ -z "$WAYLAND_DISPLAY" ]; then # cage has no such keys unless it is asked for them, and keeps the screen lit
    # Ctrl+Alt+F1 to F12 and Ctrl+Alt+Backspace are keys of the X server; this takes them out of the keyboard map.
    setxkbmap -option srvrkeys:none ||
        echo "kiosk-session: the console keys stay on: setxkbmap (x11-xkb-utils) failed" >&2
    # Screens stay lit: the kiosk has its own show.
    xset s off s noblank -dpms ||
        echo "kiosk-session: the screen may go dark: xset (x11-xserver-utils) failed" >&2
fi

# Asked to stop, it lets the kiosk end first: a session that somebody plays is put away, and nothing stays behind.
kiosk= stopping=
trap 'stopping=1; [ -z "$kiosk" ] || kill -TERM "$kiosk"' HUP INT TERM

quick=0
while [ "$quick" -lt 5 ] && [ -z "$stopping" ]; do
    began=$(date +%s)
    {} &
    kiosk=$!
    [ -z "$stopping" ] || kill -TERM "$kiosk"
    wait "$kiosk"
    status=$?
    while kill -0 "$kiosk" 2>/dev/null; do # only the waiting was interrupted
        wait "$kiosk"
        status=$?
    done
    kiosk=
    case $status in
        0) exit 0 ;; # staff left, or it was asked to stop
        2) exit 2 ;; # wrong arguments: another try would be no better
    esac
    [ -z "$stopping" ] || exit 1
    echo "kiosk-session: the kiosk ended with status $status; starting it again" >&2
    if [ $(($(date +%s) - began)) -lt 10 ]; then quick=$((quick + 1)); else quick=0; fi
    sleep 1
done
[ -z "$stopping" ] || exit 0
echo "kiosk-session: the kiosk does not stay up" >&2
exit 1
)",
                       plan.packaged ? kPackageMark : kMark, first, command);
}

std::string user_unit(const std::string& script) {
    return fmt::format(R"(# {}
[Unit]
Description=Encore kiosk
PartOf=graphical-session.target
After=graphical-session.target

[Service]
ExecStart={}
Restart=on-failure
RestartSec=2

[Install]
WantedBy=graphical-session.target
)",
                       kMark, unit_word(script));
}

enum class LogIn : uint8_t { X11, Cage };

std::string desktop_entry(const char* mark, const std::string& script, LogIn kind) {
    const bool cage = kind == LogIn::Cage;
    return fmt::format(R"(# {}
[Desktop Entry]
Type=Application
Name=Encore kiosk{}
Comment=Demos to choose from, and nothing else
Exec={}{}
{}DesktopNames=Encore
)",
                       mark, cage ? " (Wayland)" : "", cage ? "cage -- " : "", desktop_word(script),
                       cage ? "TryExec=cage\n" : "");
}

// xorg.conf(5), "SERVERFLAGS SECTION".
std::string server_flags() {
    return fmt::format(R"(# {}
Section "ServerFlags"
    Option "DontVTSwitch" "true"
    Option "DontZap" "true"
EndSection
)",
                       kMark);
}

bool has_mark(const std::string& path, const char* mark) {
    std::ifstream in(path, std::ios::binary);
    std::string head(256, 0);
    in.read(head.data(), static_cast<std::streamsize>(head.size()));
    head.resize(static_cast<size_t>(in.gcount()));
    return head.find(mark) != std::string::npos;
}

bool is_ours(const std::string& path) { return has_mark(path, kMark); }

std::vector<KioskFile> log_in_choices(const KioskPlan& plan, const char* mark, const std::string& script) {
    return {
        {plan.root + script, session_script(plan), true},
        {plan.root + "/usr/share/xsessions/encore-kiosk.desktop", desktop_entry(mark, script, LogIn::X11)},
        {plan.root + "/usr/share/wayland-sessions/encore-kiosk-wayland.desktop",
         desktop_entry(mark, script, LogIn::Cage)}};
}

base::Result<std::string> base_folder(const char* variable, const char* otherwise) {
    if (const char* folder = std::getenv(variable); folder != nullptr && *folder == '/')
        return folder;
    const char* home = std::getenv("HOME");
    if (home == nullptr || *home != '/')
        return base::fail("HOME is not set; it says where this user's files belong");
    return fmt::format("{}/{}", home, otherwise);
}

// A home may be for reading only; the computer's folders are not.
base::Error with_advice(base::Error error) {
    if (error.message.ends_with(std::strerror(EROFS)))
        error.message += "; for the whole computer: sudo encore kiosk install --system";
    return error;
}

base::Result<void> write(const KioskFile& file) {
    std::error_code error;
    fs::create_directories(fs::path(file.path).parent_path(), error);
    if (error)
        return tl::make_unexpected(
            with_advice({1, fmt::format("cannot make the folder of {}: {}", file.path, error.message())}));
    auto created = appliance_format::OutputFile::create(file.path);
    if (!created)
        return tl::make_unexpected(with_advice(created.error()));
    auto out = std::move(*created);
    TRY(appliance_format::write_all(
        out.fd(), std::span(reinterpret_cast<const uint8_t*>(file.text.data()), file.text.size()),
        file.path));
    if (::fchmod(out.fd(), file.executable ? 0755 : 0644) != 0)
        return base::fail(fmt::format("cannot set the mode of {}: {}", file.path, std::strerror(errno)));
    return out.commit();
}

} // namespace

base::Result<std::vector<KioskFile>> kiosk_files(const KioskPlan& plan) {
    if (plan.packaged)
        return log_in_choices(plan, kPackageMark, kPackagedScript);
    if (plan.system) {
        auto files = log_in_choices(plan, kMark, kSystemScript);
        std::erase_if(files, [](const KioskFile& file) { return has_mark(file.path, kPackageMark); });
        files.push_back({plan.root + "/etc/X11/xorg.conf.d/90-encore-kiosk.conf", server_flags()});
        return files;
    }
    const std::string script = TRY(base_folder("XDG_DATA_HOME", ".local/share")) + "/encore/kiosk-session";
    const std::string unit =
        TRY(base_folder("XDG_CONFIG_HOME", ".config")) + "/systemd/user/encore-kiosk.service";
    return std::vector<KioskFile>{
        {plan.root + script, session_script(plan), true},
        {plan.root + unit, user_unit(script)},
    };
}

std::string kiosk_next_steps(const KioskPlan& plan, const std::vector<KioskFile>& files) {
    const char* no_pin =
        plan.has_pin
            ? ""
            : "No staff PIN is set yet, and without one there is no way out of the kiosk: encore pin set\n";
    if (!plan.system)
        return fmt::format(
            "Locked, on a console without a desktop:  startx {0} -- vt1 -keeptty -nolisten tcp\n"
            "The same in a Wayland compositor:        cage -- {0}    (packages cage and xwayland)\n"
            "Over the desktop, at every log-in:       systemctl --user enable --now encore-kiosk\n{1}",
            base::shell_word(files.front().path), no_pin);
    std::string text =
        "Choose \"Encore kiosk\" at the log-in screen, or \"Encore kiosk (Wayland)\", the same in the "
        "compositor cage\n(packages cage and xwayland). The X server's console keys are off for every "
        "session "
        "of this computer now.\n";
    if (plan.account.empty())
        return text +
               "No account was made, and none is logged in by itself. One that is nothing but a kiosk:\n"
               "  sudo useradd --create-home --shell /bin/sh kiosk\n"
               "  sudo encore kiosk install --system --account kiosk" +
               [&] {
                   std::string words;
                   for (const std::string& argument : plan.arguments)
                       words += " " + base::shell_word(argument);
                   return words;
               }() +
               "\n";
    const std::string account = base::shell_word(plan.account);
    return text +
           fmt::format(
               "{0} is not logged in by itself yet. LightDM does it with\n"
               "  sudo mkdir -p /etc/lightdm/lightdm.conf.d && printf '%s\\n' '[Seat:*]' autologin-user={0} "
               "autologin-session=encore-kiosk | sudo tee "
               "/etc/lightdm/lightdm.conf.d/90-encore-kiosk.conf\n{1}",
               account,
               plan.has_pin ? ""
                            : fmt::format("No staff PIN is set yet, and without one there is no way out of "
                                          "the kiosk: sudo -u {} -H "
                                          "encore pin set\n",
                                          account));
}

base::Result<void> install_kiosk(const std::vector<KioskFile>& files, bool force) {
    for (const KioskFile& file : files)
        if (!force && ::access(file.path.c_str(), F_OK) == 0 && !is_ours(file.path))
            return base::fail(
                fmt::format("{} is there and not ours; move it away, or replace it with --force", file.path));
    for (const KioskFile& file : files)
        TRY(write(file));
    return {};
}

base::Result<std::vector<std::string>> remove_kiosk(const std::vector<KioskFile>& files) {
    std::vector<std::string> removed;
    for (const KioskFile& file : files) {
        if (!is_ours(file.path))
            continue;
        if (::unlink(file.path.c_str()) != 0)
            return base::fail(fmt::format("cannot remove {}: {}", file.path, std::strerror(errno)));
        removed.push_back(file.path);
    }
    return removed;
}

} // namespace player
