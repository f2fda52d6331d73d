//! CPU time of a process, from the operating system.

use serde_json::{Value, json};

use crate::step::StepFailed;

/// Microseconds of user and system time that a process has used: `/proc/PID/stat`, in ticks of
/// 10 ms, which is fine for runs of seconds.
pub(super) fn micros(process: u32) -> Result<u64, StepFailed> {
    let path = format!("/proc/{process}/stat");
    let text = std::fs::read_to_string(&path)
        .map_err(|source| StepFailed::File { path: path.into(), source })?;
    // The command's name stands in parentheses and may hold spaces.
    let after = text.rsplit(')').next().unwrap_or_default();
    let field =
        |index: usize| after.split_whitespace().nth(index).and_then(|n| n.parse::<u64>().ok());
    match (field(11), field(12)) {
        (Some(user), Some(system)) => Ok((user + system) * 10_000),
        _ => Err(StepFailed::Check(format!("/proc/{process}/stat cannot be read"))),
    }
}

/// Resident memory of a process in KiB: `VmRSS` of `/proc/PID/status`.
pub(super) fn memory_kib(process: u32) -> Result<u64, StepFailed> {
    let path = format!("/proc/{process}/status");
    let text = std::fs::read_to_string(&path)
        .map_err(|source| StepFailed::File { path: path.clone().into(), source })?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.ok_or_else(|| StepFailed::Check(format!("{path} cannot be read")))
}

/// Microseconds per call.
pub(super) fn ratio(micros: u64, calls: u64) -> f64 {
    let wide = |n: u64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    wide(micros) / wide(calls.max(1))
}

/// What the run was measured on.
pub(super) fn machine() -> Value {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    json!({"cpu": model.map_or("unknown", |(_, name)| name), "cores": cores})
}
