// How values lie in a message between the processes of a session. A message's struct lists its fields once,
// in fields(wire); the same list writes and reads them. Reading trusts nothing: what is longer than its
// bound, is no such number or goes on after its end makes the whole message malformed.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace wire {

class Writer {
  public:
    template <class T> void number(const T& value) {
        static_assert(std::is_arithmetic_v<T>);
        append(&value, sizeof value);
    }
    void flag(const bool& value) { number(static_cast<uint8_t>(value)); }
    template <class Enum> void choice(const Enum& value, Enum /*last*/) {
        number(static_cast<uint8_t>(value));
    }
    void text(const std::string& value, size_t most) {
        block(value.data(), std::min(value.size(), most)); // what a person reads may be cut
    }
    void bytes(const std::vector<uint8_t>& value, size_t /*most*/) { block(value.data(), value.size()); }
    void numbers(const std::vector<uint32_t>& value, size_t /*most*/) {
        block(value.data(), value.size() * sizeof(uint32_t));
    }
    template <size_t N> void array(const std::array<uint8_t, N>& value) {
        append(value.data(), value.size());
    }
    template <class T> void list(std::vector<T>& value, size_t most) {
        list(value, most, [](auto& wire, T& item) { item.fields(wire); });
    }
    // Of items that do not list their fields themselves.
    template <class T, class Fields> void list(std::vector<T>& value, size_t /*most*/, Fields&& fields) {
        number(static_cast<uint32_t>(value.size()));
        for (T& item : value)
            fields(*this, item);
    }
    template <class T> void optional(std::optional<T>& value) {
        flag(value.has_value());
        if (!value)
            return;
        if constexpr (std::is_arithmetic_v<T>)
            number(*value);
        else
            value->fields(*this);
    }

    void demand(bool /*holds*/) {} // the reader's affair

    [[nodiscard]] std::vector<uint8_t> take() { return std::move(bytes_); }

  private:
    void block(const void* data, size_t size) {
        number(static_cast<uint32_t>(size));
        append(data, size);
    }
    // Not inline: GCC 12 warns of writes beyond the vector that it makes up when it is.
    [[gnu::noinline]] void append(const void* data, size_t size) {
        const auto* bytes = static_cast<const uint8_t*>(data);
        bytes_.insert(bytes_.end(), bytes, bytes + size);
    }

    std::vector<uint8_t> bytes_;
};

class Reader {
  public:
    explicit Reader(std::span<const uint8_t> bytes) : rest_(bytes) {}

    template <class T> void number(T& value) {
        static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
        if (const auto from = take(sizeof value); from.size() == sizeof value)
            std::memcpy(&value, from.data(), sizeof value);
    }
    void flag(bool& value) {
        uint8_t byte = 0;
        number(byte);
        good_ = good_ && byte <= 1;
        value = byte == 1;
    }
    template <class Enum> void choice(Enum& value, Enum last) {
        uint8_t byte = 0;
        number(byte);
        good_ = good_ && byte <= static_cast<uint8_t>(last);
        if (good_)
            value = static_cast<Enum>(byte);
    }
    void text(std::string& value, size_t most) {
        const auto from = block(most, 1);
        value.assign(from.begin(), from.end());
    }
    void bytes(std::vector<uint8_t>& value, size_t most) {
        const auto from = block(most, 1);
        value.assign(from.begin(), from.end());
    }
    void numbers(std::vector<uint32_t>& value, size_t most) {
        const auto from = block(most * sizeof(uint32_t), sizeof(uint32_t));
        value.resize(from.size() / sizeof(uint32_t));
        if (!from.empty())
            std::memcpy(value.data(), from.data(), from.size());
    }
    template <size_t N> void array(std::array<uint8_t, N>& value) {
        if (const auto from = take(N); from.size() == N)
            std::copy(from.begin(), from.end(), value.begin());
    }
    template <class T> void list(std::vector<T>& value, size_t most) {
        list(value, most, [](auto& wire, T& item) { item.fields(wire); });
    }
    template <class T, class Fields> void list(std::vector<T>& value, size_t most, Fields&& fields) {
        uint32_t count = 0;
        number(count);
        good_ = good_ && count <= most;
        value.clear();
        for (uint32_t i = 0; good_ && i < count; ++i)
            fields(*this, value.emplace_back());
    }
    template <class T> void optional(std::optional<T>& value) {
        bool there = false;
        flag(there);
        value.reset();
        if (!good_ || !there)
            return;
        if constexpr (std::is_arithmetic_v<T>)
            number(value.emplace());
        else
            value.emplace().fields(*this);
    }

    // Else the message is malformed.
    void demand(bool holds) { good_ = good_ && holds; }
    // All of the message was what it should be, and nothing follows.
    [[nodiscard]] bool whole() const { return good_ && rest_.empty(); }

  private:
    std::span<const uint8_t> take(size_t size) {
        good_ = good_ && size <= rest_.size();
        if (!good_)
            return {};
        const auto taken = rest_.first(size);
        rest_ = rest_.subspan(size);
        return taken;
    }
    std::span<const uint8_t> block(size_t most, size_t unit) {
        uint32_t size = 0;
        number(size);
        good_ = good_ && size <= most && size % unit == 0;
        return take(size);
    }

    std::span<const uint8_t> rest_;
    bool good_ = true;
};

template <class T> [[nodiscard]] std::vector<uint8_t> encode(T message) {
    Writer writer;
    message.fields(writer);
    return writer.take();
}

// Nothing: malformed.
template <class T> [[nodiscard]] std::optional<T> decode(std::span<const uint8_t> bytes) {
    Reader reader(bytes);
    T message;
    message.fields(reader);
    if (!reader.whole())
        return std::nullopt;
    return message;
}

} // namespace wire
