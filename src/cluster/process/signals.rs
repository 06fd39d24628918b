//! Signals that want natter to stop.

use std::io::{self, PipeReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

/// Catches the signals that want natter to stop, for as long as nodes run; at any other time they do what they
/// do by default. Made once for the whole process.
#[derive(Debug)]
pub struct Signals {
    pub(super) pipe: PipeReader,
    /// Whether no nodes run.
    idle: Arc<AtomicBool>,
    /// The number of the last signal; zero before the first.
    pub(super) last: Arc<AtomicUsize>,
}

impl Signals {
    /// Begins to catch signals.
    ///
    /// # Errors
    /// If the system has no pipes or handlers left.
    pub fn catch() -> io::Result<Self> {
        let (pipe, write) = io::pipe()?;
        let (idle, last) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register_conditional_default(signal, Arc::clone(&idle))?;
            flag::register_usize(signal, Arc::clone(&last), signal as usize)?;
            low_level::pipe::register(signal, write.try_clone()?)?;
        }
        Ok(Self { pipe, idle, last })
    }

    /// Nodes run from now on, until what this returns is dropped.
    pub(super) fn busy(&self) -> Busy<'_> {
        self.idle.store(false, Ordering::SeqCst);
        Busy(self)
    }
}

#[derive(Debug)]
pub(super) struct Busy<'a>(&'a Signals);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.idle.store(true, Ordering::SeqCst);
    }
}
