// encore-kiosk: arguments -> the kiosk's window or the presenter's.
#include "kiosk/kiosk_frame.h"
#include "kiosk/presenter_frame.h"
#include "kiosk/seat.h"
#include "kiosk/seat_lock.h"
#include "player/cli/app.h"
#include "player/installed_files.h"
#include "player/operator_settings.h"
#include "player/stop_signals.h"
#include "player/user_folders.h"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <gtk/gtk.h>
#include <wx/app.h>
#include <wx/image.h>
#include <wx/translation.h>

namespace kiosk {
namespace {

constexpr int kExitUsage = 2;

// What run() hands to the toolkit's application.
Settings settings;
std::optional<Appliance> presented;

int complain(const std::string& text, int status = 1) {
    fmt::print(stderr, "encore-kiosk: {}\n", text);
    return status;
}

void choose_language() {
    wxFileTranslationsLoader::AddCatalogLookupPathPrefix(wxString::FromUTF8(player::find_data("locale")));
    // A whole locale would have to be installed; catalogs are ours and need nothing.
    auto* translations = new wxTranslations;
    wxTranslations::Set(translations);
    if (!settings.language.empty())
        translations->SetLanguage(wxString::FromUTF8(settings.language));
    translations->AddCatalog("encore-kiosk");
    const wxString language = settings.language.empty() ? translations->GetBestTranslation("encore-kiosk")
                                                        : wxString::FromUTF8(settings.language);
    static const char* const kRightToLeft[] = {"ar", "he", "fa", "ur"};
    set_right_to_left(
        std::ranges::any_of(kRightToLeft, [&](const char* code) { return language.StartsWith(code); }));
    // Screens are mirrored by our own canvas, once.
    gtk_widget_set_default_direction(GTK_TEXT_DIR_LTR);
}

class App final : public wxApp {
  public:
    bool OnInit() override {
        wxImage::AddHandler(new wxPNGHandler);
        choose_language();
        set_theme(settings.theme);
        choose_scale();
        if (presented)
            new PresenterFrame(settings, *presented, player::StopSignals::asked);
        else
            new KioskFrame(settings, player::StopSignals::asked);
        return true;
    }
};

void declare(cli::App& app, std::string& theme, std::string& window, long& attract, long& warning) {
    app.add_option("--catalog", settings.folders,
                   "A folder of bundles; may be repeated (default: ~/.local/share/encore/catalog)")
        ->type_name("FOLDER");
    app.add_flag("!--no-removable", settings.removable_media, "Ignore drives that are plugged in");
    app.add_option("--headline", settings.headline, "The line above the tiles")->type_name("TEXT");
    app.add_option("--language", settings.language, "en, de or ar instead of the system's")
        ->type_name("CODE");
    app.add_option("--theme", theme, "light or dark instead of the desktop's")
        ->check(cli::one_of({"light", "dark"}));
    app.add_option("--attract", attract,
                   "Seconds without a touch until the show of pictures begins; 0: never")
        ->type_name("S")
        ->check(cli::range(0, 86400));
    app.add_option("--warning", warning, "Seconds of warning before a session ends")
        ->type_name("S")
        ->check(cli::range(3, 600));
    app.add_option("--window", window, "A window of this size, nothing locked, to try it out")
        ->type_name("WxH");
    app.add_option("--present", settings.present, "Present this bundle (encore present)")
        ->type_name("X.encore");
}

// [kiosk] of the operator's files; the user's own comes last and counts.
base::Result<void> read_operator_files() {
    for (const auto& file : TRY(player::load_operator_files())) {
        const auto text = [&](const char* key, std::string& to) {
            if (const auto found = file.kiosk_texts.find(key); found != file.kiosk_texts.end())
                to = found->second;
        };
        const auto number = [&](const char* key, auto& to) {
            if (const auto found = file.kiosk_numbers.find(key); found != file.kiosk_numbers.end())
                to = std::remove_reference_t<decltype(to)>(found->second);
        };
        std::string catalog, theme;
        text("catalog", catalog);
        text("theme", theme);
        if (!catalog.empty())
            settings.folders = {catalog};
        if (!theme.empty())
            settings.theme = theme == "dark"    ? Theme::Dark
                             : theme == "light" ? Theme::Light
                                                : Theme::Automatic;
        text("headline", settings.headline);
        text("language", settings.language);
        number("attract_seconds", settings.attract);
        number("warning_seconds", settings.warning);
        number("extension_minutes", settings.extension);
    }
    return {};
}

int run(int argc, char** argv) {
    cli::App app("encore-kiosk",
                 "Tiles of bundles to choose from, and everything around a session with one.");
    app.version("encore-kiosk " ENCORE_VERSION);
    std::string theme, window;
    long attract = -1, warning = -1; // not given
    declare(app, theme, window, attract, warning);
    const cli::Parsed parsed = app.parse(argc, argv);
    if (parsed.what == cli::Parsed::What::HelpShown)
        return 0;
    if (parsed.what == cli::Parsed::What::WrongUsage)
        return complain(fmt::format("{}; see: encore-kiosk --help", parsed.message), kExitUsage);
    // What is on the command line counts; a file that cannot be read must not look like one that says
    // nothing.
    const Settings given = settings;
    if (auto read = read_operator_files(); !read)
        return complain(read.error().message);
    if (!given.folders.empty())
        settings.folders = given.folders;
    if (settings.folders.empty()) {
        auto data = player::data_folder();
        if (!data)
            return complain(data.error().message);
        settings.folders = {*data + "/catalog"};
    }
    if (!given.headline.empty())
        settings.headline = given.headline;
    if (!given.language.empty())
        settings.language = given.language;
    if (attract >= 0)
        settings.attract = std::chrono::seconds(attract);
    if (warning >= 0)
        settings.warning = std::chrono::seconds(warning);
    if (!theme.empty())
        settings.theme = theme == "dark" ? Theme::Dark : Theme::Light;
    if (!window.empty()) {
        int width = 0, height = 0;
        char rest = 0;
        if (std::sscanf(window.c_str(), "%dx%d%c", &width, &height, &rest) != 2 || width < 640 ||
            height < 480 || width > 16384 || height > 16384)
            return complain("--window takes a size such as 1280x800", kExitUsage);
        settings.window = {width, height};
    }
    settings.encore = player::find_program("encore");
    if (settings.encore.empty())
        return complain("the player, encore, is not beside this program; install both together");
    ::setenv("GDK_BACKEND", "x11", 1); // grabs and guests' windows are X11's; Xwayland has them too
    // Ours to count, and no reason to keep the seat awake.
    ::setenv("SDL_VIDEO_ALLOW_SCREENSAVER", "1", 1);
    ::setenv("SDL_VIDEODRIVER", "x11", 1);
    int no_arguments = 1;
    if (!display_there())
        return complain("there is no X11 screen to show anything on; is DISPLAY set?");
    base::UniqueFd lock;
    if (settings.present.empty()) {
        auto taken = take_seat(runtime_place());
        if (!taken)
            return complain(taken.error().message);
        lock = std::move(*taken);
    } else {
        presented = describe_bundle(settings.present);
        if (presented->refusal != Refusal::None)
            return complain(presented->details.empty() ? refusal_sentence(presented->refusal).utf8_string()
                                                       : presented->details);
    }
    const player::StopSignals signals; // as if staff had closed it
    return wxEntry(no_arguments, argv);
}

} // namespace
} // namespace kiosk

wxIMPLEMENT_APP_NO_MAIN(kiosk::App);

int main(int argc, char** argv) { return kiosk::run(argc, argv); }
