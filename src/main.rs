//! The command line program.

// Large tensors come and go at every operation; this allocator keeps their pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    undertone::cli::run(std::env::args_os())
}
