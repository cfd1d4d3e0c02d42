// A card that says something: a warning, a question, help.
#pragma once
#include "kiosk/sheet.h"

namespace kiosk {

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
    bool handle_key(int key, bool shift) override;

  protected:
    void draw(Canvas& canvas, const wxRect& card) override;
    void lay_out(const wxRect& card) override { lay_out_buttons(card); }
    [[nodiscard]] wxSize wanted_card() override;

  private:
    bool scroll(int lines);
    void scroll_by_hand();

    Content content_;
    double ring_ = -1;
    bool details_shown_ = false;
    std::vector<wxString> title_, text_, details_; // as lines of the card's width
    int shown_ = 0, first_ = 0;                    // of the text's lines
    int drag_from_ = 0, drag_first_ = 0;
};

} // namespace kiosk
