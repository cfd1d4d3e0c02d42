#include "vmm/base/state_archive.h"

#include "vmm/base/verify.h"

#include <algorithm>

namespace base {

namespace {
struct Cursor {
    std::span<const uint8_t> rest;
    bool take(void* to, size_t n) {
        if (rest.size() < n)
            return false;
        std::memcpy(to, rest.data(), n);
        rest = rest.subspan(n);
        return true;
    }
};
} // namespace

Result<StateArchive> StateArchive::parse(std::span<const uint8_t> bytes) {
    StateArchive archive;
    archive.loading_ = true;
    archive.in_.assign(bytes.begin(), bytes.end());
    Cursor cursor{archive.in_};
    Section* open = nullptr;
    while (!cursor.rest.empty()) {
        char kind = 0;
        uint8_t length = 0;
        std::string name;
        if (!cursor.take(&kind, 1) || !cursor.take(&length, 1) || cursor.rest.size() < length)
            return fail("saved machine state is truncated");
        name.assign(reinterpret_cast<const char*>(cursor.rest.data()), length);
        cursor.rest = cursor.rest.subspan(length);
        uint32_t number = 0;
        if (kind == 'E' && open != nullptr) {
            open = nullptr;
            continue;
        }
        if (!cursor.take(&number, 4))
            return fail("saved machine state is truncated");
        if (kind == 'S' && open == nullptr) {
            auto [it, fresh] = archive.sections_.try_emplace(name);
            if (!fresh)
                return fail("saved machine state has two sections named '" + name + "'");
            it->second.version = number;
            open = &it->second;
        } else if (kind == 'F' && open != nullptr && number <= cursor.rest.size()) {
            open->fields.insert_or_assign(name, cursor.rest.first(number));
            cursor.rest = cursor.rest.subspan(number);
        } else {
            return fail("saved machine state is malformed near '" + name + "'");
        }
    }
    if (open != nullptr)
        return fail("saved machine state is truncated");
    return archive;
}

Result<std::string> StateArchive::difference(std::span<const uint8_t> one, std::span<const uint8_t> other) {
    const StateArchive left = TRY(parse(one)), right = TRY(parse(other));
    for (const auto& [name, section] : left.sections_) {
        const auto match = right.sections_.find(name);
        if (match == right.sections_.end() || match->second.version != section.version)
            return name;
        const auto& fields = match->second.fields;
        for (const auto& [field, value] : section.fields) {
            const auto found = fields.find(field);
            if (found == fields.end() ||
                !std::equal(value.begin(), value.end(), found->second.begin(), found->second.end()))
                return name + " " + field;
        }
        if (fields.size() != section.fields.size())
            return name;
    }
    return left.sections_.size() == right.sections_.size() ? std::string() : std::string("sections");
}

void StateArchive::set_error(std::string message) {
    if (error_.empty())
        error_ = std::move(message);
}

void StateArchive::put_header(char kind, std::string_view name) {
    VERIFY(name.size() < 256);
    out_.push_back(static_cast<uint8_t>(kind));
    out_.push_back(static_cast<uint8_t>(name.size()));
    out_.insert(out_.end(), name.begin(), name.end());
}

static void put_u32(std::vector<uint8_t>& out, uint32_t value) {
    for (int shift = 0; shift < 32; shift += 8)
        out.push_back(static_cast<uint8_t>(value >> shift));
}

uint32_t StateArchive::begin(std::string_view name, uint32_t version) {
    if (!loading_) {
        put_header('S', name);
        put_u32(out_, version);
        return version;
    }
    current_ = nullptr;
    auto it = sections_.find(name);
    if (it == sections_.end()) {
        set_error("saved machine state has no section '" + std::string(name) + "'");
        return 0;
    }
    if (it->second.version > version) {
        set_error("saved machine state section '" + std::string(name) +
                  "' was written by a newer version of Encore; update Encore to open it");
        return 0;
    }
    current_ = &it->second;
    return it->second.version;
}

void StateArchive::end() {
    if (!loading_)
        put_header('E', "");
    current_ = nullptr;
}

void StateArchive::raw(std::string_view name, void* data, size_t size) {
    if (!loading_) {
        put_header('F', name);
        put_u32(out_, static_cast<uint32_t>(size));
        const auto* from = static_cast<const uint8_t*>(data);
        out_.insert(out_.end(), from, from + size);
        return;
    }
    if (current_ == nullptr)
        return;
    auto it = current_->fields.find(name);
    if (it == current_->fields.end())
        return;
    if (it->second.size() != size) {
        set_error("saved machine state field '" + std::string(name) + "' has the wrong size");
        return;
    }
    std::memcpy(data, it->second.data(), size);
}

void StateArchive::vector_field(std::string_view name, std::vector<uint8_t>& memory, size_t limit) {
    if (!loading_) {
        raw(name, memory.data(), memory.size());
        return;
    }
    if (current_ == nullptr)
        return;
    auto it = current_->fields.find(name);
    if (it == current_->fields.end())
        return;
    if (it->second.size() > limit) {
        set_error("saved machine state field '" + std::string(name) + "' is too large");
        return;
    }
    memory.assign(it->second.begin(), it->second.end());
}

} // namespace base
