// What joins local APICs and IO-APICs (SDM Vol. 3A 11.1): interrupt messages one way, ends of level-triggered
// interrupts the other. With several processors there are as many local APICs; who a message is for is
// theirs to say.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

namespace vmm {

enum class DeliveryMode : uint8_t { // as encoded in redirection entries, ICR and LVT
    Fixed,
    LowestPriority,
    Smi,
    Reserved,
    Nmi,
    Init,
    StartUp,
    ExtInt
};

struct ApicMessage {
    uint8_t vector = 0;
    DeliveryMode mode = DeliveryMode::Fixed;
    bool level = false;      // trigger mode
    bool logical = false;    // destination mode
    uint8_t destination = 0; // physical: an APIC ID, or FFh for all
};

class LocalApicPort {
  public:
    virtual ~LocalApicPort() = default;
    [[nodiscard]] virtual bool is_addressed(const ApicMessage& message) const = 0;
    [[nodiscard]] virtual uint8_t arbitration_priority() const = 0; // the lowest takes LowestPriority
    virtual bool receive(const ApicMessage& message) = 0;           // false: not accepted
    // The vector is requested, and its processor has not taken it yet.
    [[nodiscard]] virtual bool is_requested(uint8_t vector) const = 0;
    // Its processor listens to the 8259 pair.
    [[nodiscard]] virtual bool takes_pic() const = 0;
};

class IoApicPort {
  public:
    virtual ~IoApicPort() = default;
    virtual void end_of_interrupt(uint8_t vector) = 0;
    // Who did not accept a message before may do so now.
    virtual void offer_again() = 0;
    // A pin is open whose message a processor would hear with interrupts disabled.
    [[nodiscard]] virtual bool nmi_possible() const = 0;
};

class ApicBus {
  public:
    void attach(LocalApicPort& local) { locals_.push_back(&local); }
    void attach(IoApicPort& io) { ios_.push_back(&io); }

    // To all that it is for, or to one of them (LowestPriority). False: nobody has accepted it.
    bool send(const ApicMessage& message);
    void end_of_interrupt(uint8_t vector);
    void offer_again();
    [[nodiscard]] bool is_requested(uint8_t vector) const;
    [[nodiscard]] bool pic_is_heard() const;
    [[nodiscard]] bool nmi_possible() const;

  private:
    std::vector<LocalApicPort*> locals_;
    std::vector<IoApicPort*> ios_;
};

// A processor's local APIC as its instructions see it: CPUID, MOV of CR8, and RDMSR and WRMSR of
// IA32_APIC_BASE (and, some day, of x2APIC's registers).
class ApicMsrs {
  public:
    virtual ~ApicMsrs() = default;
    [[nodiscard]] virtual bool enabled() const = 0; // IA32_APIC_BASE.EN
    [[nodiscard]] virtual uint8_t initial_id() const = 0;
    [[nodiscard]] virtual std::optional<uint64_t> read_msr(uint32_t index) const = 0; // none: #GP
    [[nodiscard]] virtual bool write_msr(uint32_t index, uint64_t value) = 0;         // false: #GP
    [[nodiscard]] virtual uint8_t task_priority() const = 0;
    virtual void set_task_priority(uint8_t value) = 0;
};

} // namespace vmm
