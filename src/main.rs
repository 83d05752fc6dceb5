//! The `balsa` binary: see `balsa::cli`.

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Two arenas instead of four a core: an idle node keeps less, and threads here mostly free what others made.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_SETTINGS: &[u8] = b"narenas:2\0";

fn main() -> std::process::ExitCode {
    balsa::cli::main()
}
