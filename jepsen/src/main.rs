//! The `jepsen` binary: see `jepsen::cli`.

fn main() -> std::process::ExitCode {
    jepsen::cli::main()
}
