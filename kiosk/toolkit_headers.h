// What nearly every file of the kiosk's windows includes, compiled once where ENCORE_PCH is on. Never
// included by name: a file says itself what it needs.
#pragma once
#include "vmm/base/common_headers.h"

#include <wx/dcbuffer.h>
#include <wx/frame.h>
#include <wx/image.h>
#include <wx/intl.h>
#include <wx/timer.h>
