//! The I/O priority of commands that read large files: as low as the systemd unit sets it for the daemon.

use ioprio::{Class, Pid, Priority, Target, get_priority, set_priority};

/// Puts this thread, and those that it starts from now on, into the idle I/O class, unless it was started with a priority of
/// its own. A failure is not reported: reading only competes more with other programs.
pub(crate) fn lower() {
    let this = Target::Process(Pid::from_raw(0));
    if get_priority(this).is_ok_and(|priority| priority.class().is_none()) {
        let _ = set_priority(this, Priority::new(Class::Idle));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_are_started_later_read_with_idle_priority_too_but_a_chosen_priority_is_kept() {
        let this = Target::Process(Pid::from_raw(0));
        let class = move || get_priority(this).unwrap().class();
        let in_thread = |chosen: Option<Class>| {
            let thread = std::thread::spawn(move || {
                set_priority(this, chosen.map_or_else(Priority::standard, Priority::new)).unwrap();
                lower();
                (class(), std::thread::spawn(class).join().unwrap())
            });
            thread.join().unwrap()
        };
        assert_eq!(in_thread(None), (Some(Class::Idle), Some(Class::Idle)));
        let chosen = Some(Class::BestEffort(ioprio::BePriorityLevel::lowest()));
        assert_eq!(in_thread(chosen), (chosen, chosen));
    }
}
