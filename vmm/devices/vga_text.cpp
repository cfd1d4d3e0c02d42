// Text modes: characters as dots, with fonts from plane 2, and as UTF-8.
#include "vmm/devices/vga_memory.h"
#include "vmm/devices/vga_render.h"

#include <algorithm>

namespace vmm {

namespace {

constexpr uint32_t kFontBytes = 32; // a glyph, whatever its height
constexpr uint32_t kGlyphPlane = 2;
constexpr uint8_t kBlinkBit = 0x80, kFontSelectBit = 0x08;
constexpr uint8_t kModeLineGraphics = 0x04, kModeBlink = 0x08; // attribute mode control
constexpr uint8_t kFirstLineGraphic = 0xC0, kLastLineGraphic = 0xDF;
constexpr uint8_t kCursorOff = 0x20;

// Plane offsets of the eight fonts (sequencer 03h).
constexpr std::array<uint32_t, 8> kFontOffset{0x0000, 0x4000, 0x8000, 0xC000, 0x2000, 0x6000, 0xA000, 0xE000};

// Code page 437 as Unicode, the glyphs that the control codes show included.
constexpr std::array<char16_t, 32> kLowGlyphs{
    u' ', u'☺', u'☻', u'♥', u'♦', u'♣', u'♠', u'•', u'◘', u'○', u'◙', u'♂', u'♀', u'♪', u'♫', u'☼',
    u'►', u'◄', u'↕', u'‼', u'¶', u'§', u'▬', u'↨', u'↑', u'↓', u'→', u'←', u'∟', u'↔', u'▲', u'▼'};
constexpr std::array<char16_t, 128> kHighGlyphs{
    u'Ç', u'ü', u'é', u'â', u'ä', u'à', u'å', u'ç', u'ê', u'ë', u'è', u'ï', u'î', u'ì', u'Ä', u'Å',
    u'É', u'æ', u'Æ', u'ô', u'ö', u'ò', u'û', u'ù', u'ÿ', u'Ö', u'Ü', u'¢', u'£', u'¥', u'₧', u'ƒ',
    u'á', u'í', u'ó', u'ú', u'ñ', u'Ñ', u'ª', u'º', u'¿', u'⌐', u'¬', u'½', u'¼', u'¡', u'«', u'»',
    u'░', u'▒', u'▓', u'│', u'┤', u'╡', u'╢', u'╖', u'╕', u'╣', u'║', u'╗', u'╝', u'╜', u'╛', u'┐',
    u'└', u'┴', u'┬', u'├', u'─', u'┼', u'╞', u'╟', u'╚', u'╔', u'╩', u'╦', u'╠', u'═', u'╬', u'╧',
    u'╨', u'╤', u'╥', u'╙', u'╘', u'╒', u'╓', u'╫', u'╪', u'┘', u'┌', u'█', u'▄', u'▌', u'▐', u'▀',
    u'α', u'ß', u'Γ', u'π', u'Σ', u'σ', u'µ', u'τ', u'Φ', u'Θ', u'Ω', u'δ', u'∞', u'φ', u'ε', u'∩',
    u'≡', u'±', u'≥', u'≤', u'⌠', u'⌡', u'÷', u'≈', u'°', u'∙', u'·', u'√', u'ⁿ', u'²', u'■', u' '};

char16_t unicode_of(uint8_t character) {
    if (character < kLowGlyphs.size())
        return kLowGlyphs[character];
    if (character < 0x7F)
        return character;
    return character == 0x7F ? u'⌂' : kHighGlyphs[character - 0x80];
}

void append_utf8(std::string& text, char16_t code) {
    if (code < 0x80) {
        text += static_cast<char>(code);
    } else if (code < 0x800) {
        text += static_cast<char>(0xC0 | code >> 6);
        text += static_cast<char>(0x80 | (code & 0x3F));
    } else {
        text += static_cast<char>(0xE0 | code >> 12);
        text += static_cast<char>(0x80 | (code >> 6 & 0x3F));
        text += static_cast<char>(0x80 | (code & 0x3F));
    }
}

struct Fonts {
    uint32_t plain = 0, selected = 0; // plane offsets, by attribute bit 3
};

Fonts fonts_of(const VgaRegisters& registers) {
    const unsigned map = registers.seq(kSeqCharacterMap);
    return {kFontOffset[(map & 3) | (map >> 4 & 1) << 2], kFontOffset[(map >> 2 & 3) | (map >> 5 & 1) << 2]};
}

// Address counter value of the cell whose cursor shows on this scan line; none when it does not.
constexpr uint32_t kNoCursor = 0xFFFFFFFF;
uint32_t cursor_cell(const VgaView& view, uint32_t row_scan) {
    const uint8_t start = view.registers.crtc(kCrtcCursorStart), end = view.registers.crtc(kCrtcCursorEnd);
    if ((start & kCursorOff) != 0 || !view.blink.cursor_on || row_scan < (start & 0x1Fu) ||
        row_scan > (end & 0x1Fu))
        return kNoCursor;
    const uint32_t skew = end >> 5 & 3;
    return (view.registers.cursor_address() + skew) & 0xFFFF;
}

} // namespace

void vga_draw_text_line(const VgaView& view, uint32_t row_address, uint32_t row_scan, uint32_t characters,
                        VgaDots& dots) {
    const VgaRegisters& registers = view.registers;
    const uint32_t width = registers.nine_dots() ? 9 : 8;
    const Fonts fonts = fonts_of(registers);
    const uint8_t mode = registers.attr(kAttrModeControl);
    const bool blink = (mode & kModeBlink) != 0;
    const bool underline_row = row_scan == (registers.crtc(kCrtcUnderlineLocation) & 0x1Fu);
    const uint32_t cursor = cursor_cell(view, row_scan);
    uint8_t* out = dots.data();
    for (uint32_t i = 0; i < characters; ++i, out += width) {
        const uint32_t counter = (row_address + i) & 0xFFFF;
        const uint32_t cell = vga_load_cell(view.vram, registers.display_address(counter, row_scan));
        const auto character = static_cast<uint8_t>(cell), attribute = static_cast<uint8_t>(cell >> 8);
        uint8_t foreground = attribute & 0xF, background = attribute >> 4;
        const uint32_t font = (attribute & kFontSelectBit) != 0 ? fonts.selected : fonts.plain;
        const uint32_t glyph = vga_load_cell(view.vram, font + character * kFontBytes + row_scan);
        uint32_t line = glyph >> (8 * kGlyphPlane) & 0xFF;
        line <<= 1; // the ninth dot is bit 0
        if ((mode & kModeLineGraphics) != 0 && character >= kFirstLineGraphic &&
            character <= kLastLineGraphic)
            line |= line >> 1 & 1;
        if (blink) {
            background &= 7;
            if ((attribute & kBlinkBit) != 0 && !view.blink.characters_on)
                foreground = background;
        }
        if (underline_row && (attribute & 0x77) == 0x01) // monochrome underline
            line = 0x1FF;
        if (counter == cursor) {
            line = 0x1FF;
            foreground = attribute & 0xF;
        }
        for (uint32_t dot = 0; dot < width; ++dot)
            out[dot] = (line >> (8 - dot) & 1) != 0 ? foreground : background;
    }
}

std::string vga_text_screen(const VgaView& view) {
    const VgaRegisters& registers = view.registers;
    if (view.dispi.enabled() || registers.graphics() || registers.blank())
        return {};
    std::string screen;
    const uint32_t lines = registers.display_lines(), characters = registers.display_characters();
    VgaScan scan(view);
    for (uint32_t line = 0; line < lines; ++line, scan.next_line()) {
        // A row of text is read off its first scan line; double scanning shows that line twice.
        const uint32_t first = line == 0 ? view.start.preset_row_scan & 0x1F : 0;
        const bool starts_row = scan.row_scan() == first && !scan.repeated();
        if (!starts_row)
            continue;
        if (line != 0)
            screen += '\n';
        std::string row;
        size_t used = 0;
        for (uint32_t i = 0; i < characters; ++i) {
            const uint32_t address = registers.display_address(scan.row_address() + i, 0);
            const char16_t code = unicode_of(static_cast<uint8_t>(vga_load_cell(view.vram, address)));
            append_utf8(row, code);
            if (code != u' ')
                used = row.size();
        }
        screen.append(row, 0, used);
    }
    return screen;
}

} // namespace vmm
