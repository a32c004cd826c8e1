//! How often a client was refused, and why.

/// Why a request was refused. What only concerns a single job, such as `NOT_FOUND`, is no refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A put, while the server is draining: `DRAINING`.
    Draining,
    /// A put for which there is no memory or no room in the log, or whose body could not be held:
    /// `OUT_OF_MEMORY`.
    NoRoom,
    /// A put, while the server has as many jobs as it may have: `OUT_OF_MEMORY`.
    MaxJobs,
    /// A put, while the jobs of the server take as much memory as they may: `OUT_OF_MEMORY`.
    MaxMemory,
    /// A put into a tube that has as many jobs as its policy allows: `OUT_OF_MEMORY`.
    TubeMaxJobs,
    /// A put into a tube whose jobs have as many bytes as its policy allows: `OUT_OF_MEMORY`.
    TubeMaxBytes,
    /// A put by a principal whose jobs have as many bytes as it may have: `OUT_OF_MEMORY`.
    PrincipalMaxBytes,
    /// A put from an address whose jobs have as many bytes as it may have: `OUT_OF_MEMORY`.
    AddressMaxBytes,
    /// Another change that the log cannot record: `INTERNAL_ERROR`.
    NotRecorded,
    /// A put with too large a body: `JOB_TOO_BIG`.
    TooBig,
    /// A body that does not end as it should: `EXPECTED_CRLF`.
    BrokenBody,
    /// A command with wrong arguments: `BAD_FORMAT`.
    BadFormat,
    /// No command: `UNKNOWN_COMMAND`.
    UnknownCommand,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Draining,
        Self::NoRoom,
        Self::MaxJobs,
        Self::MaxMemory,
        Self::TubeMaxJobs,
        Self::TubeMaxBytes,
        Self::PrincipalMaxBytes,
        Self::AddressMaxBytes,
        Self::NotRecorded,
        Self::TooBig,
        Self::BrokenBody,
        Self::BadFormat,
        Self::UnknownCommand,
    ];

    /// Its name: the limit that was reached, otherwise the reply, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::NoRoom => "out_of_memory",
            Self::MaxJobs => "max_jobs",
            Self::MaxMemory => "max_memory",
            Self::TubeMaxJobs => "tube_max_jobs",
            Self::TubeMaxBytes => "tube_max_bytes",
            Self::PrincipalMaxBytes => "principal_max_bytes",
            Self::AddressMaxBytes => "address_max_bytes",
            Self::NotRecorded => "internal_error",
            Self::TooBig => "job_too_big",
            Self::BrokenBody => "expected_crlf",
            Self::BadFormat => "bad_format",
            Self::UnknownCommand => "unknown_command",
        }
    }
}

/// The number of refusals since the server started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refusals([u64; Cause::ALL.len()]);

impl Refusals {
    #[cold]
    pub(crate) fn add(&mut self, cause: Cause) {
        self.0[cause as usize] += 1;
    }

    /// How many there were for this cause.
    pub fn of(&self, cause: Cause) -> u64 {
        self.0[cause as usize]
    }
}
