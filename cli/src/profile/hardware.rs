//! What a profile was measured on.

/// The processor's name and the number of its cores that this process may use.
pub(super) fn describe() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = |key: &str| {
        text.lines()
            .filter(|line| line.starts_with(key))
            .find_map(|line| Some(line.split_once(':')?.1.trim()))
    };
    let name = named("model name").or_else(|| named("CPU part")).unwrap_or(std::env::consts::ARCH);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{name}, {cores} cores")
}
