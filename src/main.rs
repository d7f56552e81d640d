//! The `elonnx` command; everything is in [`elonnx::cli`].

fn main() -> std::process::ExitCode {
    elonnx::cli::main()
}
