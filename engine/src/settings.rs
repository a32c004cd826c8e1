//! Settings of tubes and of the server. Each set is changed, recorded and restored as a whole, so
//! that only this file and the log's format need to know which settings there are.

use beanstalk_protocol::{BadTubeName, Seconds};

use crate::arena::Ix;
use crate::engine::Engine;
use crate::policy::Policy;
use crate::record::{Pause, Record, TubeSettings};
use crate::sink::Sink;
use crate::time::Nanos;

impl Pause {
    /// This recorded pause as it applies at `now`.
    fn at(self, now: Nanos) -> Option<Self> {
        // The clock may have been set back since; that must not prolong it.
        let pause = Self { until: self.until.min(now.after(self.seconds)), ..self };
        Some(pause).filter(|pause| pause.until > now)
    }
}

impl Engine {
    /// Pauses a tube for this many seconds, or ends its pause with 0, and records that.
    pub(crate) fn set_pause(
        &mut self,
        now: Nanos,
        tube: Ix,
        seconds: Seconds,
        sink: &mut impl Sink,
    ) {
        let pause = (seconds > 0).then(|| Pause { seconds, until: now.after(seconds) });
        let state = &self.tubes[tube];
        let settings = TubeSettings { pause, ..state.settings() };
        sink.record(Record::Tube { tube: state.name.as_str(), settings });
        self.apply_pause(now, tube, pause, sink);
    }

    /// Restores recorded settings of a tube, without those that have expired by `now`.
    pub(crate) fn restore_tube(
        &mut self,
        now: Nanos,
        tube: Ix,
        settings: TubeSettings<'_>,
        sink: &mut impl Sink,
    ) -> Result<(), BadTubeName> {
        let TubeSettings { pause, policy } = settings;
        let policy = policy.as_ref().map(Policy::restored).transpose()?;
        self.apply_policy(now, tube, policy, sink);
        self.apply_pause(now, tube, pause.and_then(|pause| pause.at(now)), sink);
        Ok(())
    }

    #[inline(never)]
    fn apply_pause(&mut self, now: Nanos, tube: Ix, pause: Option<Pause>, sink: &mut impl Sink) {
        self.tubes[tube].pause = pause;
        self.hold_or_resume(now, tube, sink);
        self.schedule_tube(tube);
        self.drop_if_idle(tube);
    }

    /// Ends the tube's pause.
    pub(crate) fn end_pause(&mut self, now: Nanos, tube: Ix, sink: &mut impl Sink) {
        self.tubes[tube].pause = None;
        self.hold_or_resume(now, tube, sink);
    }

    /// Whether the tube is held may have changed. If it no longer is, waiting connections get its
    /// jobs.
    pub(crate) fn hold_or_resume(&mut self, now: Nanos, tube: Ix, sink: &mut impl Sink) {
        let state = &mut self.tubes[tube];
        let before = state.held;
        state.has_changed();
        if before && !state.held {
            self.serve(now, tube, sink);
            self.alert(tube);
        }
    }

    /// Sets whether new jobs are refused.
    pub fn set_draining(&mut self, draining: bool, sink: &mut impl Sink) {
        let mut settings = self.settings;
        settings.draining = draining;
        if settings != self.settings {
            self.settings = settings;
            self.guard();
            sink.record(Record::Server(settings));
        }
    }

    /// The names of the tubes with settings other than the defaults. Scans all tubes.
    pub fn tubes_with_settings(&self) -> Vec<String> {
        let set = self.tubes.all().filter(|tube| tube.has_settings());
        set.map(|tube| tube.name.as_str().to_owned()).collect()
    }

    /// Records the tube's settings once more. If all have their default, there is nothing to
    /// record: any earlier record with other settings is reclaimed before the one that reset them.
    pub fn record_tube_again(&self, name: &str, sink: &mut impl Sink) {
        if let Some(tube) = self.tubes.find(name).map(|ix| &self.tubes[ix])
            && tube.has_settings()
        {
            sink.record(Record::Tube { tube: name, settings: tube.settings() });
        }
    }

    /// Records the server's settings once more, likewise.
    pub fn record_server_again(&self, sink: &mut impl Sink) {
        if !self.settings.is_default() {
            sink.record(Record::Server(self.settings));
        }
    }
}
