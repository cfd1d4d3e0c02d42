// A bundle's blob as a read-only medium: each chunk is read and checked when the guest first asks for it.
#pragma once
#include "appliance-format/blob_reader.h"
#include "vmm/bus/ports.h"

#include <functional>

namespace machine {

class BlobPort final : public vmm::BlockPort {
  public:
    using Failed = std::function<void(const base::Error&)>;

    // `failed` hears of every read that did not succeed: damage in a bundle is the session's business, the
    // guest only sees a read error.
    BlobPort(appliance_format::BlobReader blob, Failed failed)
        : blob_(std::move(blob)), failed_(std::move(failed)) {}

    [[nodiscard]] uint64_t size_bytes() const override { return blob_.size(); }
    [[nodiscard]] bool read_only() const override { return true; }
    base::Result<void> read(uint64_t offset, std::span<uint8_t> to) override {
        auto done = blob_.read(offset, to);
        if (!done && failed_)
            failed_(done.error());
        return done;
    }
    base::Result<void> write(uint64_t, std::span<const uint8_t>) override {
        return base::fail("the medium is read-only");
    }
    base::Result<void> flush() override { return {}; }

  private:
    appliance_format::BlobReader blob_;
    Failed failed_;
};

} // namespace machine
