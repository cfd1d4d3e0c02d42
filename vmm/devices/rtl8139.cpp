// Realtek RTL8139C Fast Ethernet controller, PCI 10EC:8139 (Realtek's RTL8139C(L) datasheet), in a slot of
// its own. BAR 0 (ports) and BAR 1 (memory) show the same 256 bytes of registers. Of the cards that Debian's
// i386 kernel and Windows from 2000 on bring drivers for, it is the smallest whole one: four descriptors out,
// one ring in, no tables of the driver's to walk, and unlike the NE2000's its data moves by DMA.
//
// The cable is a NetworkPort. Frames leave while the driver's register write is carried out; when the far end
// has no room the descriptor stays the card's and goes later. Frames come from the port's queue while the
// ring has room; when it has none the far end waits, as with the flow control that both ends announce (IEEE
// 802.3, annex 31B). What arrives by loopback cannot wait, and overflows the ring.
//
// A loaded state finds every connection closed: the link goes down, comes back after kFlap and says so, so
// that the guest's system asks for its address again. What is on the way is nobody's state: frames not sent
// yet are in guest memory, those not received yet are dropped.
#include "vmm/bus/platform.h"
#include "vmm/devices/device_list.h"
#include "vmm/devices/eeprom93c46.h"
#include "vmm/devices/rtl8139_receiver.h"
#include "vmm/devices/vga_bar_pages.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

namespace vmm {
namespace {

constexpr unsigned kSlot = 3, kPin = 0;
constexpr unsigned kPortBar = 0, kMemoryBar = 1;
constexpr uint32_t kRegisterBytes = 256;

// Registers by offset.
constexpr unsigned kTxStatus = 0x10, kTxAddress = 0x20, kRxBase = 0x30, kCommand = 0x37, kCapr = 0x38,
                   kCbr = 0x3A, kImr = 0x3C, kIsr = 0x3E, kTxConfig = 0x40, kRxConfig = 0x44, kTimer = 0x48,
                   kMissed = 0x4C, k9346Command = 0x50, kConfig1 = 0x52, kTimerInterrupt = 0x54,
                   kMediaStatus = 0x58, kConfig3 = 0x59, kConfig4 = 0x5A, kMulticastInterrupt = 0x5C,
                   kTxSummary = 0x60, kBasicControl = 0x62, kBasicStatus = 0x64, kAdvertised = 0x66,
                   kPartner = 0x68, kCsConfig = 0x74, kConfig5 = 0xD8;

// Command register (CR).
constexpr uint8_t kBufferEmpty = 1u << 0, kTxEnable = 1u << 2, kRxEnable = 1u << 3, kReset = 1u << 4;
// Interrupt mask and status (IMR, ISR).
constexpr uint16_t kTxOk = 1u << 2, kTxError = 1u << 3, kLinkChanged = 1u << 5, kTimeOut = 1u << 14;
constexpr uint16_t kInterrupts = 0xE07F;
// Transmit status (TSD0-3).
constexpr uint32_t kTxSize = 0x1FFF, kTxOwn = 1u << 13, kTxUnderrun = 1u << 14, kTxSent = 1u << 15,
                   kTxThreshold = 0x3F << 16, kTxAborted = 1u << 30, kTxCarrierLost = 1u << 31;
constexpr uint32_t kMaxTxSize = 1792;
// Transmit configuration (TCR): the version says RTL8139C.
constexpr uint32_t kTxVersion = 0x74000000, kTxConfigWritable = 0x030707F0, kTxNoFcs = 1u << 16,
                   kTxLoopback = 3u << 17;
constexpr uint32_t kFcsBytes = 4;
// 93C46 command register (9346CR): operating mode and the EEPROM's pins.
constexpr uint8_t kEepromOut = 1u << 0, kEepromIn = 1u << 1, kEepromClock = 1u << 2, kEepromSelect = 1u << 3,
                  kModeShift = 6, kModeReload = 1, kModeProgram = 2, kModeConfig = 3;
constexpr uint8_t kConfig1Fixed = 0x0C,
                  kConfig1Writable = 0xF0; // registers in memory and I/O; no power management
constexpr uint8_t kConfig3Writable = 0xE1;
constexpr uint8_t kMediaWritable = 0xC0, kLinkDownBit = 1u << 2; // MSR
// BMCR, BMSR, ANAR and ANLPAR (IEEE 802.3, 22.2.4).
constexpr uint16_t kPhyReset = 1u << 15, kRestart = 1u << 9, kControlWritable = 0x3100,
                   kControlInitial = 0x3100;
constexpr uint16_t kStatusUp = 0x0024, kStatusAlways = 0x7809; // link and negotiation done; all speeds
constexpr uint16_t kAdvertisedInitial = 0x05E1, kPartnerUp = 0x45E1;
// CSCR. Bits 10 and 11 are not in the datasheet; Linux' driver believes a link change only with
// bit 11.
constexpr uint16_t kCsInitial = 0x01C0, kCsConnected = 1u << 3, kCsLink = 1u << 10, kCsChanged = 1u << 11;

constexpr unsigned kDescriptors = 4;
constexpr unsigned kBatch = 64; // frames taken from the port before the guest runs again
constexpr uint64_t kFlap = 2 * kNanosPerSecond;
constexpr uint64_t kReminder = 500'000;      // ns
constexpr uint64_t kTimerHertz = 33'000'000; // the PCI clock, which TCTR counts

// Words of the EEPROM.
constexpr unsigned kEepromMac = 7;
constexpr std::array<uint16_t, 7> kEepromHead{0x8129, 0x10EC, 0x8139, 0x10EC, 0x8139, 0x4020, 0xE110};

class Rtl8139 final : public PciDevice, public IoHandler, public MmioHandler {
  public:
    explicit Rtl8139(Platform& platform)
        : platform_(platform), port_(platform.config.network), receiver_(platform.memory),
          wake_(std::make_shared<Wake>(this)) {
        set_id(0x10EC, 0x8139, 0x020000, 0x10);
        set_word(0x2C, 0x10EC); // subsystem
        set_word(0x2E, 0x8139);
        set_word(0x3E, 0x4020); // latency wanted
        config_[0x3D] = kPin + 1;
        set_bar_size(kPortBar, kRegisterBytes, true);
        set_bar_size(kMemoryBar, kRegisterBytes, false);
        writable_[4] = 0x07; // I/O, memory, bus master
        writable_[5] = 0x00;
        for (unsigned i = 0; i < kEepromHead.size(); ++i)
            eeprom_.set_word(i, kEepromHead[i]);
        link_timer_ = platform.clock.add_timer("rtl8139 link", [this] { set_link(true); });
        count_timer_ = platform.clock.add_timer("rtl8139 timer", [this] {
            raise(kTimeOut);
            arm_count();
        });
        reminder_ = platform.clock.add_timer("rtl8139 reminder", [this] {
            if (!receiver_.empty())
                raise(Rtl8139Receiver::kOk);
        });
        platform.pci.attach(kSlot, 0, this);
        platform.outputs.identity_changed = [this, others = std::move(platform.outputs.identity_changed)] {
            if (others)
                others();
            show_identity();
        };
        link_ = port_ != nullptr;
        if (port_)
            port_->set_ready(
                [weak = std::weak_ptr(wake_), events = &platform.events] { ask(weak, *events); });
        reset();
    }
    ~Rtl8139() override {
        if (port_)
            port_->set_ready({});
        release();
    }

    [[nodiscard]] std::string_view name() const override { return "rtl8139"; }

    void reset() override {
        reset_config();
        set_word(6, 0x0280);
        registers_ = {};
        load_eeprom();
        soft_reset();
    }

    void serialize(base::StateArchive& archive) override;

    void bars_changed() override {
        release();
        if (const uint32_t base = bar(kPortBar);
            io_enabled() && base != 0 && base <= 0x10000 - kRegisterBytes &&
            platform_.io.try_add(static_cast<uint16_t>(base), kRegisterBytes, this, "rtl8139", 4))
            ports_ = static_cast<uint16_t>(base);
        const uint32_t memory = bar(kMemoryBar);
        const WholeMap whole(platform_.memory);
        if (memory_enabled() && bar_page_free(platform_.memory, memory >> kPageShift)) {
            platform_.memory.map_mmio(memory >> kPageShift, 1, this);
            page_offset_ = memory & (kPageSize - 1);
            mapped_ = true;
        }
        transmit(); // what waited for the bus
    }

    uint32_t io_read(uint16_t port, unsigned size) override { return read(port - ports_, size); }
    void io_write(uint16_t port, unsigned size, uint32_t value) override {
        write(port - ports_, size, value);
    }
    uint32_t mmio_read(Physical address, unsigned size) override {
        return read((address & (kPageSize - 1)) - page_offset_, size);
    }
    void mmio_write(Physical address, unsigned size, uint32_t value) override {
        write((address & (kPageSize - 1)) - page_offset_, size, value);
    }

  private:
    // Outlives the card for as long as a posted event refers to it.
    struct Wake {
        explicit Wake(Rtl8139* the_card) : card(the_card) {}
        Rtl8139* card;
        std::atomic<bool> posted{false};
    };

    // What is saved, beyond the receiver and the EEPROM's conversation.
    struct Registers {
        std::array<uint32_t, kDescriptors> tx_status{}, tx_address{};
        uint64_t counting_since = 0; // TCTR was zero then, in guest time
        uint32_t tx_config = 0, timer_interrupt = 0;
        uint16_t imr = 0, isr = 0, control = kControlInitial, advertised = kAdvertisedInitial;
        uint16_t multicast_interrupt = 0;
        uint8_t command = 0, next_tx = 0, mode = 0;
        uint8_t config1 = 0, config3 = 0, config4 = 0, config5 = 0, media = 0;
        uint8_t link_changed = 0, driven = 0; // the latter: since the last hardware reset a driver ran
        uint8_t unused[4] = {};
    };
    static_assert(sizeof(Registers) == 72); // no padding: its bytes are compared

    void release() {
        if (ports_ != 0)
            platform_.io.remove(ports_, kRegisterBytes);
        if (mapped_)
            platform_.memory.unmap_mmio(this);
        ports_ = 0;
        mapped_ = false;
    }

    void raise(uint16_t bits) {
        registers_.isr |= bits;
        platform_.pci.set_intx(kSlot, kPin, (registers_.isr & registers_.imr) != 0);
    }

    void set_link(bool up) {
        if (link_ == up)
            return;
        link_ = up;
        registers_.link_changed = 1;
        raise(kLinkChanged);
    }

    // The EEPROM has the address of this session at once. A driver that runs keeps the one it has read, or
    // what is sent to it would be lost: it has to be loaded again, or the machine started again, to learn
    // another.
    void show_identity() {
        load_eeprom_address();
        if (registers_.driven == 0)
            receiver_.set_station(platform_.config.identity.mac);
    }
    void load_eeprom_address() {
        const auto& mac = platform_.config.identity.mac;
        for (unsigned i = 0; i < 3; ++i)
            eeprom_.set_word(kEepromMac + i, static_cast<uint16_t>(mac[2 * i] | mac[2 * i + 1] << 8));
    }
    void load_eeprom() {
        load_eeprom_address();
        receiver_.set_station(platform_.config.identity.mac);
        registers_.config1 = kConfig1Fixed;
    }

    void soft_reset() {
        receiver_.soft_reset();
        registers_.command = registers_.next_tx = 0;
        registers_.tx_status.fill(kTxOwn);
        registers_.tx_address.fill(0);
        registers_.tx_config = registers_.timer_interrupt = 0;
        registers_.imr = registers_.isr = 0;
        registers_.counting_since = platform_.clock.now();
        arm_count();
        remind();
        raise(0);
    }

    // ---- frames

    // exchange() on the vCPU thread; from any thread. One event at a time, however many frames come.
    static void ask(const std::weak_ptr<Wake>& weak, EventQueue& events) {
        const auto wake = weak.lock();
        if (wake == nullptr || wake->posted.exchange(true))
            return;
        events.post([weak] {
            if (const auto alive = weak.lock()) {
                alive->posted.store(false);
                alive->card->exchange();
            }
        });
    }
    // The port has something to give or to take.
    void exchange() {
        transmit();
        receive();
    }

    [[nodiscard]] bool receiving() const {
        return (registers_.command & kRxEnable) != 0 && bus_master_enabled() && link_;
    }

    void receive() {
        if (!port_ || busy_)
            return;
        std::array<uint8_t, NetworkPort::kMaxFrame> frame;
        uint16_t happened = 0;
        unsigned taken = 0;
        while (taken < kBatch && (!receiving() || receiver_.has_room())) {
            const size_t length = std::min(port_->receive(frame), frame.size());
            if (length == 0)
                break;
            ++taken;
            if (receiving())
                happened |= take(std::span(frame).first(length));
        }
        if (happened != 0)
            raise(happened);
        if (taken == kBatch) // the guest runs in between
            ask(wake_, platform_.events);
    }

    // DEVIATION: a driver that clears ROK while frames wait in the ring is told again after kReminder. Linux'
    // does so after each frame and stops after 64; on a real wire the next frame reminds it, but here the far
    // end waits until there is room.
    void remind() {
        const bool wanted = (registers_.command & kRxEnable) != 0 && !receiver_.empty() &&
                            (registers_.isr & Rtl8139Receiver::kOk) == 0;
        platform_.clock.arm(reminder_, wanted ? platform_.clock.now() + kReminder : kNever);
    }

    // A guest may aim DMA at the card's own registers: nothing happens there meanwhile.
    uint16_t take(std::span<const uint8_t> frame) {
        busy_ = true;
        const uint16_t happened = receiver_.accept(frame);
        busy_ = false;
        return happened;
    }

    // Descriptors leave in turn, until one is the driver's or the far end has no room.
    void transmit() {
        for (unsigned i = 0; i < kDescriptors && !busy_; ++i) {
            uint32_t& status = registers_.tx_status[registers_.next_tx];
            if ((registers_.command & kTxEnable) == 0 || (status & kTxOwn) != 0 || !bus_master_enabled())
                return;
            const uint32_t outcome = send(status & kTxSize, registers_.tx_address[registers_.next_tx]);
            if (outcome == 0)
                return;
            status |= kTxOwn | outcome;
            registers_.next_tx = (registers_.next_tx + 1) % kDescriptors;
            raise((outcome & kTxAborted) != 0 ? kTxError : kTxOk);
        }
    }

    // The bits of transmit status that tell how it went; 0: not yet.
    uint32_t send(uint32_t size, uint32_t address) {
        if (size > kMaxTxSize)
            return kTxAborted;
        std::array<uint8_t, kMaxTxSize> bytes;
        busy_ = true;
        platform_.memory.read(address, bytes.data(), size);
        busy_ = false;
        // The driver made the check sequence itself: the far end has no use for it.
        if ((registers_.tx_config & kTxNoFcs) != 0)
            size -= std::min(size, kFcsBytes);
        const auto frame = std::span<const uint8_t>(bytes).first(size);
        if ((registers_.tx_config & kTxLoopback) == kTxLoopback) {
            if ((registers_.command & kRxEnable) != 0)
                registers_.isr |= take(frame);
            return kTxSent;
        }
        if (!link_)
            return kTxSent | kTxCarrierLost;
        if (frame.size() > NetworkPort::kMaxFrame) // longer than anything a switch passes on
            return kTxSent;
        return port_->send(frame) ? kTxSent : 0;
    }

    // ---- the counter (TCTR, TimerInt)

    [[nodiscard]] uint32_t count() const {
        const uint64_t elapsed = platform_.clock.now() - registers_.counting_since;
        return static_cast<uint32_t>(elapsed / 1000 * (kTimerHertz / 1'000'000) +
                                     elapsed % 1000 * (kTimerHertz / 1'000'000) / 1000);
    }
    // The next time at which the count is that of TimerInt.
    void arm_count() {
        uint64_t deadline = kNever;
        if (registers_.timer_interrupt != 0) {
            uint64_t left = registers_.timer_interrupt - count(); // modulo 2^32
            left = static_cast<uint32_t>(left) == 0 ? uint64_t{1} << 32 : static_cast<uint32_t>(left);
            deadline = platform_.clock.now() + (left * 1000 + 32) / (kTimerHertz / 1'000'000);
        }
        platform_.clock.arm(count_timer_, deadline);
    }

    // ---- registers

    [[nodiscard]] uint8_t eeprom_command() const {
        const uint8_t pins =
            registers_.mode >> kModeShift == kModeProgram && eeprom_.data_out() ? kEepromOut : 0;
        return static_cast<uint8_t>((registers_.mode & ~kEepromOut) | pins);
    }
    [[nodiscard]] uint16_t tx_summary() const {
        uint16_t all = 0;
        for (unsigned i = 0; i < kDescriptors; ++i) {
            const uint32_t status = registers_.tx_status[i];
            all = static_cast<uint16_t>(all | ((status & kTxOwn) != 0 ? 1u << i : 0) |
                                        ((status & kTxAborted) != 0 ? 0x10u << i : 0) |
                                        ((status & kTxUnderrun) != 0 ? 0x100u << i : 0) |
                                        ((status & kTxSent) != 0 ? 0x1000u << i : 0));
        }
        return all;
    }
    [[nodiscard]] uint32_t dword(unsigned at) const;
    uint32_t read(unsigned offset, unsigned size) const;
    void write(unsigned offset, unsigned size, uint32_t value);
    bool write32(unsigned offset, uint32_t value);
    bool write16(unsigned offset, uint16_t value);
    void write8(unsigned offset, uint8_t value);
    void write_command(uint8_t value);
    void write_eeprom_command(uint8_t value);

    Platform& platform_;
    std::shared_ptr<NetworkPort> port_;
    Rtl8139Receiver receiver_;
    Eeprom93c46 eeprom_;
    std::shared_ptr<Wake> wake_;
    Clock::TimerId link_timer_ = 0, count_timer_ = 0, reminder_ = 0;
    Registers registers_;
    bool link_ = false;
    bool busy_ = false; // moving data: see take()
    uint16_t ports_ = 0;
    uint32_t page_offset_ = 0;
    bool mapped_ = false;
};

void Rtl8139::serialize(base::StateArchive& archive) {
    archive.begin(name(), 1);
    serialize_config(archive);
    receiver_.serialize(archive);
    eeprom_.serialize(archive);
    archive.field("registers", registers_);
    archive.end();
    if (!archive.loading())
        return;
    Registers& r = registers_;
    for (uint32_t& status : r.tx_status)
        status &= kTxSize | kTxOwn | kTxUnderrun | kTxSent | kTxThreshold | kTxAborted | kTxCarrierLost;
    r.counting_since = std::min(r.counting_since, platform_.clock.now());
    r.tx_config &= kTxConfigWritable;
    r.imr &= kInterrupts;
    r.isr &= kInterrupts;
    r.control &= kControlWritable;
    r.command &= kTxEnable | kRxEnable;
    r.next_tx %= kDescriptors;
    r.mode &= static_cast<uint8_t>(~(kEepromOut | 0x30));
    r.config1 = static_cast<uint8_t>((r.config1 & kConfig1Writable) | kConfig1Fixed);
    r.config3 &= kConfig3Writable;
    r.media &= kMediaWritable;
    r.driven &= 1;
    std::ranges::fill(r.unused, uint8_t{0});
    load_eeprom_address();
    arm_count();
    remind();
    // The far end is another one: first the link is down, which its driver hears of.
    if (port_)
        port_->disconnect();
    link_ = false;
    r.link_changed = 1;
    raise(kLinkChanged);
    platform_.clock.arm(link_timer_, port_ ? platform_.clock.now() + kFlap : kNever);
}

uint32_t Rtl8139::dword(unsigned at) const {
    const Registers& r = registers_;
    const auto words = [](uint32_t low, uint32_t high) { return low | high << 16; };
    if (at < kTxStatus) {
        uint32_t value = 0;
        for (unsigned i = 0; i < 4; ++i)
            value |= uint32_t{receiver_.address_byte(at + i)} << 8 * i;
        return value;
    }
    if (at < kTxAddress)
        return r.tx_status[(at - kTxStatus) / 4];
    if (at < kRxBase)
        return r.tx_address[(at - kTxAddress) / 4];
    switch (at) {
    case kRxBase:
        return receiver_.ring_base();
    case kCommand & ~3u:
        return uint32_t{static_cast<uint8_t>(r.command | (receiver_.empty() ? kBufferEmpty : 0))} << 24;
    case kCapr:
        return words(receiver_.read_pointer(), receiver_.write_pointer());
    case kImr:
        return words(r.imr, r.isr);
    case kTxConfig:
        return r.tx_config | kTxVersion;
    case kRxConfig:
        return receiver_.config();
    case kTimer:
        return count();
    case kMissed:
        return receiver_.missed();
    case k9346Command: // with CONFIG0, which is 0 (no boot ROM), and CONFIG1
        return eeprom_command() | uint32_t{r.config1} << 16;
    case kTimerInterrupt:
        return r.timer_interrupt;
    case kMediaStatus:
        return static_cast<uint8_t>(r.media | (link_ ? 0 : kLinkDownBit)) | uint32_t{r.config3} << 8 |
               uint32_t{r.config4} << 16;
    case kMulticastInterrupt:
        return words(r.multicast_interrupt, 0x10); // and the revision
    case kTxSummary:
        return words(tx_summary(), r.control);
    case kBasicStatus:
        return words(kStatusAlways | (link_ ? kStatusUp : 0), r.advertised);
    case kPartner:
        return link_ ? words(kPartnerUp, 1) : 0;
    case kCsConfig:
        return kCsInitial | (link_ ? kCsConnected | kCsLink : 0) | (r.link_changed != 0 ? kCsChanged : 0);
    case kConfig5:
        return r.config5;
    default:
        return 0;
    }
}

uint32_t Rtl8139::read(unsigned offset, unsigned size) const {
    const uint32_t mask = size == 4 ? 0xFFFFFFFF : (1u << 8 * size) - 1;
    if (offset >= kRegisterBytes || offset + size > kRegisterBytes || busy_)
        return mask;
    const unsigned shift = 8 * (offset & 3);
    uint64_t value = dword(offset & ~3u);
    if ((offset & 3) + size > 4)
        value |= uint64_t{dword((offset & ~3u) + 4)} << 32;
    return static_cast<uint32_t>(value >> shift) & mask;
}

// What is no register of that width is written in halves.
void Rtl8139::write(unsigned offset, unsigned size, uint32_t value) {
    if (offset >= kRegisterBytes || offset + size > kRegisterBytes || busy_)
        return;
    if (size == 4) {
        if (write32(offset, value))
            return;
        write(offset, 2, value & 0xFFFF);
        write(offset + 2, 2, value >> 16);
    } else if (size == 2) {
        if (write16(offset, static_cast<uint16_t>(value)))
            return;
        write8(offset, static_cast<uint8_t>(value));
        write8(offset + 1, static_cast<uint8_t>(value >> 8));
    } else {
        write8(offset, static_cast<uint8_t>(value));
    }
}

bool Rtl8139::write32(unsigned offset, uint32_t value) {
    if (offset >= kTxStatus && offset < kRxBase) {
        const unsigned index = (offset & 0xF) / 4;
        if (offset >= kTxAddress) {
            registers_.tx_address[index] = value;
        } else { // the rest is cleared by this very write
            registers_.tx_status[index] = value & (kTxSize | kTxOwn | kTxThreshold);
            transmit();
        }
        return true;
    }
    switch (offset) {
    case kRxBase:
        receiver_.set_ring_base(value);
        return true;
    case kTxConfig:
        registers_.tx_config = value & kTxConfigWritable;
        return true;
    case kRxConfig:
        receiver_.set_config(value);
        receive();
        return true;
    case kTimer:
        registers_.counting_since = platform_.clock.now();
        arm_count();
        return true;
    case kMissed:
        receiver_.clear_missed();
        return true;
    case kTimerInterrupt:
        registers_.timer_interrupt = value;
        arm_count();
        return true;
    default:
        return false;
    }
}

bool Rtl8139::write16(unsigned offset, uint16_t value) {
    Registers& r = registers_;
    switch (offset) {
    case kCapr:
        receiver_.set_read_pointer(value);
        receive(); // there may be room again
        return true;
    case kCbr:
        return true; // read-only
    case kImr:
        r.imr = value & kInterrupts;
        raise(0);
        return true;
    case kIsr: // ones clear
        if ((value & kLinkChanged) != 0)
            r.link_changed = 0;
        r.isr &= static_cast<uint16_t>(~value);
        raise(0);
        remind();
        return true;
    case kMulticastInterrupt:
        r.multicast_interrupt = value;
        return true;
    case kBasicControl: // reset and restart are over at once, with the outcome that there was
        r.control = (value & kPhyReset) != 0 ? kControlInitial : value & kControlWritable;
        static_assert((kControlWritable & kRestart) == 0);
        return true;
    case kAdvertised:
        r.advertised = value;
        return true;
    default:
        return false;
    }
}

void Rtl8139::write8(unsigned offset, uint8_t value) {
    Registers& r = registers_;
    const bool unlocked = r.mode >> kModeShift == kModeConfig; // CONFIG0-4 are written in that mode only
    const auto keep = [&](uint8_t& to, uint8_t mask) {
        if (unlocked)
            to = static_cast<uint8_t>((to & ~mask) | (value & mask));
    };
    if (offset < kTxStatus) {
        receiver_.set_address_byte(offset, value);
        return;
    }
    switch (offset) {
    case kCommand:
        write_command(value);
        return;
    case kImr: // a byte of a 16-bit register
        write16(kImr, static_cast<uint16_t>((r.imr & 0xFF00) | value));
        return;
    case kImr + 1:
        write16(kImr, static_cast<uint16_t>((r.imr & 0x00FF) | value << 8));
        return;
    case kIsr:
        write16(kIsr, value);
        return;
    case kIsr + 1:
        write16(kIsr, static_cast<uint16_t>(value << 8));
        return;
    case k9346Command:
        write_eeprom_command(value);
        return;
    case kConfig1:
        keep(r.config1, kConfig1Writable);
        return;
    case kConfig3:
        keep(r.config3, kConfig3Writable);
        return;
    case kConfig4:
        keep(r.config4, 0xFF);
        return;
    case kConfig5:
        r.config5 = value;
        return;
    case kMediaStatus:
        r.media = value & kMediaWritable;
        return;
    default:
        return; // read-only, or nothing
    }
}

void Rtl8139::write_command(uint8_t value) {
    if ((value & kReset) != 0) { // over before it can be read
        soft_reset();
        return;
    }
    registers_.command = value & (kTxEnable | kRxEnable);
    if (registers_.command != 0)
        registers_.driven = 1;
    transmit();
    receive();
}

void Rtl8139::write_eeprom_command(uint8_t value) {
    registers_.mode = value & static_cast<uint8_t>(~(kEepromOut | 0x30));
    switch (value >> kModeShift) {
    case kModeReload: // and back to normal
        load_eeprom();
        registers_.mode = 0;
        break;
    case kModeProgram:
        eeprom_.set_pins((value & kEepromSelect) != 0, (value & kEepromClock) != 0, (value & kEepromIn) != 0);
        break;
    default:
        eeprom_.set_pins(false, false, false);
        break;
    }
}

} // namespace

std::unique_ptr<Device> make_rtl8139(Platform& platform) {
    return platform.config.network_card ? std::make_unique<Rtl8139>(platform) : nullptr;
}

} // namespace vmm
