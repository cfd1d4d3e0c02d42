// The 64 Ki port space. Overlapping ranges are refused; unclaimed ports read as all ones.
#pragma once
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace vmm {

class IoHandler {
  public:
    virtual ~IoHandler() = default;
    // size: 1, 2 or 4. A handler that only decodes bytes can leave wide accesses to the bus: see
    // `max_size` in IoBus::add.
    virtual uint32_t io_read(uint16_t port, unsigned size) = 0;
    virtual void io_write(uint16_t port, unsigned size, uint32_t value) = 0;
};

class IoBus {
  public:
    IoBus();
    // Claims [first, first+count). Accesses wider than max_size, or not wholly inside the range, are
    // split into bytes. VERIFYs that no part is claimed already.
    void add(uint16_t first, unsigned count, IoHandler* handler, std::string_view owner,
             unsigned max_size = 1);
    // The same for ranges the guest chooses (PCI I/O BARs): false, with nothing claimed, when a part is
    // taken or lies beyond FFFFh.
    [[nodiscard]] bool try_add(uint16_t first, unsigned count, IoHandler* handler, std::string_view owner,
                               unsigned max_size = 1);
    // Releases exactly a range that add or try_add claimed (VERIFYs that).
    void remove(uint16_t first, unsigned count);

    uint32_t read(uint16_t port, unsigned size);
    void write(uint16_t port, unsigned size, uint32_t value);

  private:
    struct Range {
        uint16_t first = 0;
        uint32_t count = 0;
        IoHandler* handler = nullptr;
        unsigned max_size = 1;
        std::string_view owner;
    };
    [[nodiscard]] const Range* find(uint16_t port) const;
    std::vector<Range> ranges_;
    std::vector<uint16_t> owner_of_; // port -> index into ranges_ + 1
};

} // namespace vmm
