"""NVRTC, NVIDIA's run-time compiler, by ctypes: needs neither a driver nor a host compiler."""

import ctypes

import wheels

# without --no-source-include, headers would also be looked for in the current folder
OPTIONS = ["--gpu-architecture=compute_80", "--std=c++17", "--no-source-include"]


class CompileError(Exception):
    """The source doesn't compile; the text is what NVRTC says."""


class Nvrtc:
    """A loaded libnvrtc of the pinned wheel."""

    def __init__(self):
        folder = wheels.NVRTC.install() / "nvidia" / "cuda_nvrtc" / "lib"
        self.library = ctypes.CDLL(str(folder / "libnvrtc.so.12"))
        self.library.nvrtcGetErrorString.restype = ctypes.c_char_p

    def ptx(self, name, source, headers, defines):
        """The PTX of one source, and what the compiler warns of.

        Headers are given by name and text, and no path is known to the compiler: the same text is the same PTX
        everywhere.
        """
        texts = (ctypes.c_char_p * len(headers))(*(text.encode() for text in headers.values()))
        names = (ctypes.c_char_p * len(headers))(*(name.encode() for name in headers))
        program = ctypes.c_void_p()
        self.call("nvrtcCreateProgram", ctypes.byref(program), source.encode(), name.encode(), len(headers), texts,
                  names)
        try:
            options = [*OPTIONS, *(f"--define-macro={define}" for define in defines)]
            status = self.library.nvrtcCompileProgram(
                program, len(options), (ctypes.c_char_p * len(options))(*(option.encode() for option in options)))
            log = self.text("nvrtcGetProgramLog", program).decode(errors="replace").strip()
            if status != 0:
                raise CompileError(log or self.reason(status))
            return self.text("nvrtcGetPTX", program), log
        finally:
            self.library.nvrtcDestroyProgram(ctypes.byref(program))

    def text(self, function, program):
        """What a pair of functions, `function` and `functionSize`, says, without the NUL at its end."""
        size = ctypes.c_size_t()
        self.call(function + "Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(max(size.value, 1))
        self.call(function, program, buffer)
        return buffer.raw.rstrip(b"\0")

    def call(self, function, *arguments):
        status = getattr(self.library, function)(*arguments)
        if status != 0:
            raise CompileError(f"{function}: {self.reason(status)}")

    def reason(self, status):
        return self.library.nvrtcGetErrorString(status).decode()
