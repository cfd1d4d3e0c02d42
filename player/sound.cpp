#include "player/sound.h"

#include "player/lazy_libraries.h"
#include "vmm/base/log.h"
#include "vmm/base/unique_fd.h"

#include <SDL.h>
#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <fcntl.h>
#include <fmt/format.h>
#include <mutex>
#include <thread>
#include <unistd.h>
#include <vector>

namespace player {
namespace {

constexpr int kRate = 48000, kChannels = 2;
constexpr size_t kSecond = size_t{kRate} * kChannels;         // samples
constexpr size_t kTarget = kSecond / 20, kMost = kSecond / 5; // 50 ms, 200 ms
constexpr size_t kMostUnopened = kSecond;                     // while the host's sound is being opened
constexpr uint16_t kCallbackFrames = 512;                     // 11 ms

struct FreeStream {
    void operator()(SDL_AudioStream* stream) const { SDL_FreeAudioStream(stream); }
};

// Any rate in, 48 kHz out. Belongs to whoever holds the lock.
class Converter {
  public:
    void convert(std::span<const int16_t> samples, uint32_t rate, std::vector<int16_t>& to) {
        to.clear();
        if (rate == kRate) {
            to.assign(samples.begin(), samples.end());
            return;
        }
        if (!load_sdl()) // what cannot be converted is not heard
            return;
        if (rate != rate_ || !stream_) {
            rate_ = rate;
            stream_.reset(SDL_NewAudioStream(AUDIO_S16SYS, kChannels, static_cast<int>(rate), AUDIO_S16SYS,
                                             kChannels, kRate));
        }
        if (!stream_ || SDL_AudioStreamPut(stream_.get(), samples.data(),
                                           static_cast<int>(samples.size() * sizeof(int16_t))) != 0)
            return;
        to.resize(static_cast<size_t>(std::max(SDL_AudioStreamAvailable(stream_.get()), 0)) /
                  sizeof(int16_t));
        const int got =
            SDL_AudioStreamGet(stream_.get(), to.data(), static_cast<int>(to.size() * sizeof(int16_t)));
        to.resize(static_cast<size_t>(std::max(got, 0)) / sizeof(int16_t));
    }
    void forget() {
        if (stream_)
            SDL_AudioStreamClear(stream_.get());
    }

  private:
    uint32_t rate_ = 0;
    std::unique_ptr<SDL_AudioStream, FreeStream> stream_;
};

} // namespace

// ------------------------------------------------------------------------------------------- loudspeaker

struct Loudspeaker::Impl {
    std::mutex mutex; // guards what follows
    std::condition_variable changed;
    std::deque<int16_t> waiting;
    std::vector<int16_t> converted;
    Converter converter;
    bool filling = true; // nothing is heard until kTarget waits
    bool wanted = false, opened = false, ended = false;

    SDL_AudioDeviceID device = 0; // the thread's
    std::thread thread;

    void work();
    void fill(std::span<int16_t> to);
};

void Loudspeaker::Impl::fill(std::span<int16_t> to) {
    const std::lock_guard lock(mutex);
    if (filling && waiting.size() >= kTarget)
        filling = false;
    const size_t count = filling ? 0 : std::min(to.size(), waiting.size());
    std::copy_n(waiting.begin(), count, to.begin());
    waiting.erase(waiting.begin(), waiting.begin() + static_cast<ptrdiff_t>(count));
    std::fill(to.begin() + static_cast<ptrdiff_t>(count), to.end(), int16_t{0});
    if (count < to.size())
        filling = true;
}

void Loudspeaker::Impl::work() {
    {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return wanted || ended; });
        if (ended)
            return;
    }
    if (auto loaded = load_sdl(); !loaded) {
        base::log(base::LogLevel::Warn, "no sound: {}", loaded.error().message);
        return;
    }
    SDL_AudioSpec spec{}, got{};
    spec.freq = kRate;
    spec.format = AUDIO_S16SYS;
    spec.channels = kChannels;
    spec.samples = kCallbackFrames;
    spec.userdata = this;
    spec.callback = [](void* self, uint8_t* bytes, int length) {
        static_cast<Impl*>(self)->fill(
            {reinterpret_cast<int16_t*>(bytes), static_cast<size_t>(length) / sizeof(int16_t)});
    };
    const bool initialised = SDL_InitSubSystem(SDL_INIT_AUDIO) == 0;
    if (initialised && SDL_GetNumAudioDevices(0) != 0) // else ALSA complains on the terminal
        device = SDL_OpenAudioDevice(nullptr, 0, &spec, &got, 0);
    if (device == 0)
        base::log(base::LogLevel::Info, "no sound: {}", SDL_GetError());
    else
        SDL_PauseAudioDevice(device, 0);
    {
        std::unique_lock lock(mutex);
        opened = device != 0;
        if (device == 0)
            waiting.clear();
        changed.wait(lock, [&] { return ended; });
    }
    if (device != 0)
        SDL_CloseAudioDevice(device);
    if (initialised)
        SDL_QuitSubSystem(SDL_INIT_AUDIO);
}

Loudspeaker::Loudspeaker() : impl_(std::make_unique<Impl>()) {
    impl_->thread = std::thread([impl = impl_.get()] { impl->work(); });
}

Loudspeaker::~Loudspeaker() { close(); }

void Loudspeaker::close() {
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->ended = true;
        impl_->waiting.clear();
    }
    impl_->changed.notify_all();
    if (impl_->thread.joinable())
        impl_->thread.join();
}

void Loudspeaker::play(std::span<const int16_t> samples, uint32_t rate) {
    {
        const std::lock_guard lock(impl_->mutex);
        if (impl_->ended)
            return;
        impl_->wanted = true;
        impl_->converter.convert(samples, rate, impl_->converted);
        impl_->waiting.insert(impl_->waiting.end(), impl_->converted.begin(), impl_->converted.end());
        const size_t most = impl_->opened ? kMost : kMostUnopened;
        if (impl_->waiting.size() > most) // the oldest goes: whole frames
            impl_->waiting.erase(impl_->waiting.begin(),
                                 impl_->waiting.end() - static_cast<ptrdiff_t>(kTarget));
    }
    impl_->changed.notify_all();
}

void Loudspeaker::silence() {
    const std::lock_guard lock(impl_->mutex);
    impl_->waiting.clear();
    impl_->converter.forget();
    impl_->filling = true;
}

// ------------------------------------------------------------------------------------------- WAV file

struct WavFile::Impl {
    std::string path;
    base::UniqueFd fd;
    std::mutex mutex; // guards what follows
    Converter converter;
    std::vector<int16_t> converted;
    uint32_t bytes = 0;
    int failure = 0;

    bool put(const void* data, size_t size) {
        const char* at = static_cast<const char*>(data);
        while (size != 0 && failure == 0) {
            const ssize_t done = ::write(fd.get(), at, size);
            if (done < 0 && errno == EINTR)
                continue;
            if (done <= 0) {
                failure = done == 0 ? ENOSPC : errno;
                return false;
            }
            at += done;
            size -= static_cast<size_t>(done);
        }
        return failure == 0;
    }
    // RIFF WAVE, format 1 (PCM): the header of a file with so many bytes of samples.
    bool put_header() {
        const auto number = [](uint8_t* to, uint32_t value) { std::memcpy(to, &value, 4); };
        uint8_t header[44] = {'R', 'I', 'F', 'F', 0,  0, 0, 0, 'W', 'A', 'V',       'E',
                              'f', 'm', 't', ' ', 16, 0, 0, 0, 1,   0,   kChannels, 0};
        number(header + 4, bytes + 36);
        number(header + 24, kRate);
        number(header + 28, kRate * kChannels * 2);
        header[32] = kChannels * 2;
        header[34] = 16;
        std::memcpy(header + 36, "data", 4);
        number(header + 40, bytes);
        return ::lseek(fd.get(), 0, SEEK_SET) == 0 && put(header, sizeof header);
    }
};

WavFile::WavFile(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

base::Result<std::shared_ptr<WavFile>> WavFile::create(const std::string& path) {
    auto impl = std::make_unique<Impl>();
    impl->path = path;
    impl->fd = base::UniqueFd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!impl->fd.valid() || !impl->put_header())
        return base::fail(fmt::format("cannot write {}: {}", path, std::strerror(errno)));
    return std::shared_ptr<WavFile>(new WavFile(std::move(impl)));
}

WavFile::~WavFile() { std::ignore = finish(); }

void WavFile::play(std::span<const int16_t> samples, uint32_t rate) {
    constexpr uint32_t kMostBytes = 0xFFFF0000; // what a RIFF header can say
    const std::lock_guard lock(impl_->mutex);
    impl_->converter.convert(samples, rate, impl_->converted);
    const size_t size = impl_->converted.size() * sizeof(int16_t);
    if (size <= kMostBytes - impl_->bytes && impl_->put(impl_->converted.data(), size))
        impl_->bytes += static_cast<uint32_t>(size);
}

void WavFile::silence() {
    const std::lock_guard lock(impl_->mutex);
    impl_->converter.forget();
}

base::Result<void> WavFile::finish() {
    const std::lock_guard lock(impl_->mutex);
    if (!impl_->fd.valid())
        return {};
    impl_->put_header();
    impl_->fd = base::UniqueFd();
    if (impl_->failure != 0)
        return base::fail(fmt::format("cannot write {}: {}", impl_->path, std::strerror(impl_->failure)));
    return {};
}

} // namespace player
