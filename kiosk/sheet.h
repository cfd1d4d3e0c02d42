// What comes up over a screen and takes all input until it is answered: a card on the dimmed picture of what
// was there. The guest's window is hidden meanwhile, so nothing of it can cover the card.
#pragma once
#include "kiosk/catalog.h"
#include "kiosk/control.h"

#include <chrono>

namespace kiosk {

class Sheet : public wxWindow {
  public:
    Sheet(wxWindow* parent, const wxBitmap& backdrop, wxSize card);

    virtual bool handle_key(int key, bool shift);
    virtual bool handle_character(wxChar) { return false; }
    virtual void tick() {}
    std::function<void()> on_cancel; // Esc, or a touch beside the card; not given: it has to be answered

  protected:
    virtual void draw(Canvas& canvas, const wxRect& card) = 0;
    virtual void lay_out(const wxRect& card) = 0;
    // Buttons at the foot of the card, the last one at the end of the line.
    void lay_out_buttons(const wxRect& card);
    [[nodiscard]] wxRect card() const;
    void resize_card(wxSize card);
    // For screen readers: what the card says, which is painted and no control's name.
    void set_spoken(const wxString& title, const wxString& text);

    std::vector<Control*> controls_;
    std::vector<Button*> buttons_;

  private:
    void paint();
    wxBitmap backdrop_;
    wxSize card_;
};

// A sentence, what to do about it, and details for staff behind a button.
class MessageSheet final : public Sheet {
  public:
    struct Choice {
        wxString label;
        ButtonStyle style = ButtonStyle::Plain;
        std::function<void()> act;
    };
    struct Content {
        Glyph glyph = Glyph::Help;
        bool grave = false;
        wxString title, text, details;
        std::vector<Choice> choices; // the last is what Enter does
    };
    MessageSheet(wxWindow* parent, const wxBitmap& backdrop, Content content);
    void set_text(const wxString& text, double ring); // ring: the share of time left, below 0: none

  protected:
    void draw(Canvas& canvas, const wxRect& card) override;
    void lay_out(const wxRect& card) override { lay_out_buttons(card); }

  private:
    Content content_;
    double ring_ = -1;
    bool details_shown_ = false;
};

// The menu of a session: its scenes with their pictures (keys 1 to 9 jump at once), and all the ribbon can
// do.
class ScenePicker final : public Sheet {
  public:
    ScenePicker(wxWindow* parent, const wxBitmap& backdrop, const Appliance& appliance,
                const std::string& current);
    std::function<void(const std::string&)> on_pick;
    std::function<void()> on_restart, on_help, on_end;
    bool handle_key(int key, bool shift) override;

  protected:
    void draw(Canvas& canvas, const wxRect& card) override;
    void lay_out(const wxRect& card) override;

  private:
    wxString title_;
    std::vector<std::string> names_;
    size_t first_row_ = 0;
};

// Digits behind dots; what is typed is handed over whole.
class PinSheet final : public Sheet {
  public:
    PinSheet(wxWindow* parent, const wxBitmap& backdrop, const wxString& title);
    std::function<void(const std::string& pin)> on_pin;
    bool handle_key(int key, bool shift) override;
    bool handle_character(wxChar character) override;
    void refuse(const wxString& why); // empties the field

  protected:
    void draw(Canvas& canvas, const wxRect& card) override;
    void lay_out(const wxRect& card) override;

  private:
    void add(char digit);
    void submit();
    wxString title_, message_;
    std::string pin_;
};

// One scene of a picker or the presenter's list.
class SceneTile final : public Control {
  public:
    SceneTile(wxWindow* parent, const SceneCard& scene, int number, bool current, bool on_card = true);
    void set_current(bool current);

  protected:
    void draw(Canvas& canvas, wxSize size) override;
    [[nodiscard]] wxColour behind() const override;

  private:
    wxString title_, notes_;
    wxBitmap picture_;
    int number_;
    bool current_, on_card_;
};

} // namespace kiosk
