// Where what happens at a kiosk is noted: the computer's operations log, or nowhere when it cannot be
// written.
#pragma once
#include "player/operator_settings.h"

namespace kiosk {

class KioskLog {
  public:
    KioskLog() {
        if (const auto rules = player::load_operator_files())
            if (auto log = player::open_log(*rules))
                log_ = std::move(*log);
    }
    void note(std::string_view event, std::initializer_list<player::OperationsLog::Field> fields = {}) const {
        if (log_)
            log_->record(event, fields);
    }

  private:
    std::shared_ptr<player::OperationsLog> log_;
};

} // namespace kiosk
