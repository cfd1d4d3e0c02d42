// Interrupt lines between devices, the interrupt controllers and the CPU.
#pragma once
#include <cstdint>

namespace vmm {

// ISA lines 0-15. Level of a line as its (single) device drives it; PCI INTx sharing is ORed by the
// PIIX3 router before it gets here.
class IrqLines {
  public:
    virtual ~IrqLines() = default;
    virtual void set_irq(unsigned line, bool level) = 0;
    // PIRQA#-PIRQD# (0-3), the OR of the PCI interrupt pins wired to each, before the router steers them.
    virtual void set_pirq(unsigned /*wire*/, bool /*asserted*/) {}
    // The line has an unmasked request that the CPU has not taken yet. A timer asks before it pulses its
    // line again, so that a tick is not lost in one already waiting.
    [[nodiscard]] virtual bool irq_undelivered(unsigned /*line*/) const { return false; }
};

// The CPU's view of what interrupts it.
class InterruptSource {
  public:
    virtual ~InterruptSource() = default;
    [[nodiscard]] virtual bool interrupt_pending() const = 0; // INTR level
    virtual uint8_t acknowledge_interrupt() = 0;              // INTA cycle: the vector
    // A non-maskable interrupt is an edge; it waits here until the CPU takes it.
    [[nodiscard]] virtual bool nmi_pending() const { return false; }
    virtual void acknowledge_nmi() {}
    // Whether one could come, the way things are programmed: if not, a halt with interrupts disabled is for
    // good.
    [[nodiscard]] virtual bool nmi_possible() const { return false; }
};

// INTR of the 8259 pair, for who stands between it and the CPU.
class IntrWire {
  public:
    virtual ~IntrWire() = default;
    virtual void set_intr(bool level) = 0;
};

// How x87 errors reach the processor of a PC while CR0.NE is 0 (SDM Vol. 1 8.7.2): the processor raises
// FERR#, the chip set asks for IRQ 13 and, told through port F0h that somebody looks after the error, drives
// IGNNE#. Both ends are on the vCPU thread.
class MathErrorWires {
  public:
    virtual ~MathErrorWires() = default;
    virtual void set_ferr(bool asserted) = 0;
    [[nodiscard]] virtual bool ignne() const = 0;
};

} // namespace vmm
