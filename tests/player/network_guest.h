// A guest's end of the network, for tests.
#pragma once
#include "player/network.h"

#include <array>
#include <catch2/catch.hpp>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>

#include <vector>

namespace network_test {

using player::UserNetwork;
using Frame = std::vector<uint8_t>;

struct Guest {
    // The computer seems to have no addresses: its own would not be reached, and there are no others here.
    explicit Guest(player::NetworkAccess access = {}, const std::string& program = NETWORK_PROGRAM)
        : network(UserNetwork::create(std::move(access), hearers(), program,
                                      [] { return player::HostNetworks{}; })
                      .value()),
          card(network->plug()) {
        card->set_ready([this] {
            {
                const std::lock_guard lock(mutex);
                ++calls;
            }
            changed.notify_all();
        });
    }
    ~Guest() { card->set_ready({}); }
    void send(const Frame& frame) {
        while (!card->send(frame))
            wait([] { return false; }, 1);
    }
    std::optional<Frame> receive() {
        std::array<uint8_t, vmm::NetworkPort::kMaxFrame> frame;
        const size_t length = card->receive(frame);
        return length == 0 ? std::nullopt : std::optional(Frame(frame.begin(), frame.begin() + length));
    }
    // The first frame that is wanted.
    std::optional<Frame> expect(const std::function<bool(const Frame&)>& wanted) {
        std::optional<Frame> found;
        wait([&] {
            while (auto frame = receive())
                if (wanted(*frame)) {
                    found = frame;
                    return true;
                }
            return false;
        });
        return found;
    }
    bool wait(const std::function<bool()>& holds, unsigned milliseconds = 60'000) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
        while (!holds()) {
            if (std::chrono::steady_clock::now() > end)
                return false;
            std::unique_lock lock(mutex);
            changed.wait_for(lock, std::chrono::milliseconds(5));
        }
        return true;
    }

    UserNetwork::Hearers hearers() {
        return {[this](const std::string& text) { told(text); },
                [this](const base::Error& error) { told("failed: " + error.message); }};
    }
    void told(const std::string& text) {
        const std::lock_guard lock(mutex);
        heard += text + "\n";
    }
    bool hears(const std::string& text) {
        return wait([&] {
            const std::lock_guard lock(mutex);
            return heard.find(text) != std::string::npos;
        });
    }
    // Until its network process is at work, walled in.
    bool ready() {
        return wait([&] { return network->walls().has_value(); });
    }

    std::mutex mutex;
    std::condition_variable changed;
    size_t calls = 0;  // of the card's to look
    std::string heard; // of notices and failures
    std::shared_ptr<UserNetwork> network;
    std::shared_ptr<vmm::NetworkPort> card;
};

} // namespace network_test
