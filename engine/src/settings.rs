//! Settings of tubes and of the server. Each set is changed, recorded and restored as a whole, so
//! that only this file and the log's format need to know which settings there are.

use crate::arena::Ix;
use crate::engine::Engine;
use crate::record::{Pause, Record, TubeSettings};
use crate::sink::Sink;
use crate::time::Nanos;

impl TubeSettings {
    /// These recorded settings as they apply at `now`.
    fn at(self, now: Nanos) -> Self {
        // The clock may have been set back since; that must not prolong a pause.
        let within =
            |pause: Pause| Pause { until: pause.until.min(now.after(pause.seconds)), ..pause };
        let Self { pause } = self;
        Self { pause: pause.map(within).filter(|pause| pause.until > now) }
    }
}

impl Engine {
    /// Changes and records the settings of a tube.
    pub(crate) fn set_tube(
        &mut self,
        now: Nanos,
        tube: Ix,
        settings: TubeSettings,
        sink: &mut impl Sink,
    ) {
        sink.record(Record::Tube { tube: self.tubes[tube].name.as_str(), settings });
        self.apply_tube(now, tube, settings, sink);
    }

    /// Restores recorded settings of a tube, without those that have expired by `now`.
    pub(crate) fn restore_tube(
        &mut self,
        now: Nanos,
        tube: Ix,
        settings: TubeSettings,
        sink: &mut impl Sink,
    ) {
        self.apply_tube(now, tube, settings.at(now), sink);
    }

    #[inline(never)]
    fn apply_tube(&mut self, now: Nanos, tube: Ix, settings: TubeSettings, sink: &mut impl Sink) {
        let before = std::mem::replace(&mut self.tubes[tube].settings, settings);
        if before.pause.is_some() && settings.pause.is_none() {
            self.resumed(now, tube, sink);
        }
        self.schedule_tube(tube);
        self.drop_if_idle(tube);
    }

    /// Ends the tube's pause.
    pub(crate) fn end_pause(&mut self, now: Nanos, tube: Ix, sink: &mut impl Sink) {
        self.tubes[tube].settings.pause = None;
        self.resumed(now, tube, sink);
    }

    /// The tube is no longer paused: waiting connections get its jobs.
    fn resumed(&mut self, now: Nanos, tube: Ix, sink: &mut impl Sink) {
        self.serve(now, tube, sink);
        self.alert(tube);
    }

    /// Sets whether new jobs are refused.
    pub fn set_draining(&mut self, draining: bool, sink: &mut impl Sink) {
        let mut settings = self.settings;
        settings.draining = draining;
        if settings != self.settings {
            self.settings = settings;
            sink.record(Record::Server(settings));
        }
    }

    /// The names of the tubes with settings other than the defaults. Scans all tubes.
    pub fn tubes_with_settings(&self) -> Vec<String> {
        let set = self.tubes.all().filter(|tube| !tube.settings.is_default());
        set.map(|tube| tube.name.as_str().to_owned()).collect()
    }

    /// Records the tube's settings once more. If all have their default, there is nothing to
    /// record: any earlier record with other settings is reclaimed before the one that reset them.
    pub fn record_tube_again(&self, name: &str, sink: &mut impl Sink) {
        if let Some(tube) = self.tubes.find(name).map(|ix| &self.tubes[ix])
            && !tube.settings.is_default()
        {
            sink.record(Record::Tube { tube: name, settings: tube.settings });
        }
    }

    /// Records the server's settings once more, likewise.
    pub fn record_server_again(&self, sink: &mut impl Sink) {
        if !self.settings.is_default() {
            sink.record(Record::Server(self.settings));
        }
    }
}
