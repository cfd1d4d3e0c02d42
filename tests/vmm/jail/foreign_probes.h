// What a jailed program tries (foreign_prisoner) and what must become of it (test_foreign_program.cpp).
#pragma once
#include <cstdint>

namespace jail_test {

inline constexpr int kToTest = 3, kUnconnected = 4; // the prisoner's descriptors

enum class Try : uint8_t {
    ReadFile,
    ListFolder,
    ReadProc,
    ReadLibrary,
    MakeFile,
    WriteFile,
    EmptyFile,
    OpenUpFile,
    DateFile,
    LinkFile,
    RenameFile,
    RemoveFile,
    MakeFolder,
    NetworkSocket,
    LocalSocket,
    Connect,
    Fork,
    ForkByClone,
    Thread,
    Signal,
    SignalThread,
    QueueSignal,
    HoldProcess,
    LimitProcess,
    LookIntoProcess,
    ShareMemory,
    LeaveNamespaces,
    BecomeAnother
};

// The weakest wall that denies it.
enum class DeniedFrom : uint8_t { None, Landlock, Namespaces, Never };

struct Probe {
    Try what;
    const char* name;
    DeniedFrom wall;
};
// In this order: what is renamed and removed is needed before, and another program says nothing more.
inline constexpr Probe kProbes[] = {
    {Try::ReadFile, "read a file", DeniedFrom::Landlock},
    {Try::ListFolder, "list a folder", DeniedFrom::Landlock},
    {Try::ReadProc, "read /proc", DeniedFrom::Landlock},
    {Try::ReadLibrary, "read a library", DeniedFrom::Namespaces},
    {Try::MakeFile, "make a file", DeniedFrom::None},
    {Try::WriteFile, "write to a file", DeniedFrom::None},
    {Try::EmptyFile, "empty a file", DeniedFrom::None},
    {Try::OpenUpFile, "open a file up to everybody", DeniedFrom::None},
    {Try::DateFile, "date a file", DeniedFrom::None},
    {Try::LinkFile, "name a file twice", DeniedFrom::None},
    {Try::RenameFile, "rename a file", DeniedFrom::None},
    {Try::RemoveFile, "remove a file", DeniedFrom::None},
    {Try::MakeFolder, "make a folder", DeniedFrom::None},
    {Try::NetworkSocket, "make a socket of the network", DeniedFrom::None},
    {Try::LocalSocket, "make a socket of this computer", DeniedFrom::None},
    {Try::Connect, "connect a socket that it was handed", DeniedFrom::None},
    {Try::Fork, "fork", DeniedFrom::None},
    {Try::ForkByClone, "fork by clone", DeniedFrom::None},
    {Try::Thread, "start a thread", DeniedFrom::Never},
    {Try::Signal, "signal who started it", DeniedFrom::None},
    {Try::SignalThread, "signal a thread of it", DeniedFrom::None},
    {Try::QueueSignal, "queue a signal for it", DeniedFrom::None},
    {Try::HoldProcess, "get hold of a process", DeniedFrom::None},
    {Try::LimitProcess, "limit a process", DeniedFrom::None},
    {Try::LookIntoProcess, "look into a process", DeniedFrom::None},
    {Try::ShareMemory, "map memory that others share", DeniedFrom::None},
    {Try::LeaveNamespaces, "leave its namespaces", DeniedFrom::None},
    {Try::BecomeAnother, "become another program", DeniedFrom::Landlock},
};

} // namespace jail_test
