//! A new process becomes a program, without a copy of this one.
//!
//! A fork copies the page tables of the keeper, and the program throws them away at once: for a short program,
//! that is a quarter of what it costs. So the new process runs on the keeper's own memory, and the keeper waits
//! until it has its own (`CLONE_VM` and `CLONE_VFORK`). `posix_spawn` does the same, but lets nobody do
//! anything in the new process before it is its program.

use nix::errno::Errno;
use nix::sched::{CloneFlags, clone};
use rustix::process::{Pid, WaitOptions, waitpid};
use std::cell::Cell;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::ptr::null;

/// Bytes for what the new process has on its stack until it is its program: many times what it needs.
pub(super) const STACK: usize = 256 << 10;

/// The exit status of a process that could not become its program. Nobody sees it.
const FAILED: isize = 127;

/// What runs a program that the kernel does not know how to run, as `execvp` of the GNU C library has it.
const SHELL: &CStr = c"/bin/sh";

/// Where a bare name is looked up if the environment has no `PATH`.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// A program as the kernel wants it: everything that takes memory is made here, before there is a process.
pub(super) struct Program {
    /// Where it may be, in this order.
    paths: Vec<CString>,
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Program {
    /// # Errors
    ///
    /// `EINVAL` if there is a NUL byte in any of it.
    pub(super) fn new(
        program: &Path,
        args: &[OsString],
        env: &[(OsString, OsString)],
    ) -> io::Result<Self> {
        let name = string(program.as_os_str())?;
        let args = args.iter().map(|arg| string(arg));
        let set = |(name, value): &(OsString, OsString)| {
            string(&OsString::from_vec([name.as_bytes(), b"=", value.as_bytes()].concat()))
        };
        Ok(Self {
            paths: paths(program.as_os_str().as_bytes(), env)?,
            args: [Ok(name)].into_iter().chain(args).collect::<io::Result<_>>()?,
            env: env.iter().map(set).collect::<io::Result<_>>()?,
        })
    }

    /// Makes a process that, on this stack, does what `prepare` says and becomes this program.
    ///
    /// # Errors
    ///
    /// That of the call that failed in either process. There is no process then.
    ///
    /// # Safety
    ///
    /// The calling thread is the only one of its process, and blocks all signals. The stack is of [`STACK`]
    /// bytes. `prepare` runs in the new
    /// process, on the memory of this one: it does nothing but system calls, takes no lock, allocates and
    /// frees nothing, and does not panic. It may let signals in if all of them have their default
    /// dispositions.
    #[allow(unsafe_code)]
    pub(super) unsafe fn start(
        &self,
        stack: &mut [u8],
        mut prepare: impl FnMut() -> rustix::io::Result<()>,
    ) -> io::Result<Pid> {
        let args = pointers(&self.args);
        let env = pointers(&self.env);
        // The shell gets the path in the place of the name, which is set when it is known.
        let mut shell = [&[SHELL.as_ptr(), null()], &args[1..]].concat();
        let failure = Cell::new(0);
        let run = || {
            failure.set(match prepare() {
                Ok(()) => self.exec(&args, &mut shell, &env),
                Err(error) => error.raw_os_error(),
            });
            FAILED
        };
        let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
        // SAFETY: the new process has a stack of its own. While it uses our memory, it is the only one that
        // does: this thread waits, and there is no other, nor a handler of a signal. What it does there is
        // what `prepare` does, which the caller answers for, and the loop of `exec`, which makes system calls
        // and writes to memory of this function alone. The value of `errno`, which both share, is read by
        // neither afterwards. The box of the closure is freed by us, after that.
        let cloned = unsafe { clone(Box::new(run), stack, flags, Some(libc::SIGCHLD)) };
        let process = Pid::from_raw(cloned?.as_raw()).ok_or(io::ErrorKind::InvalidData)?;
        match failure.get() {
            0 => Ok(process),
            errno => {
                // It has ended, or is about to.
                let gone = || waitpid(Some(process), WaitOptions::empty());
                let _ = rustix::io::retry_on_intr(gone);
                Err(io::Error::from_raw_os_error(errno))
            }
        }
    }

    /// Returns the error if the calling process could not become the program.
    #[allow(unsafe_code)]
    fn exec(&self, args: &[Pointer], shell: &mut [Pointer], env: &[Pointer]) -> i32 {
        // SAFETY: these are strings that end in NUL, and lists of such strings that end in a null pointer, all
        // of which outlive the call.
        let exec = |path: &CStr, args: &[Pointer]| unsafe {
            libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr());
            Errno::last_raw()
        };
        let mut told = libc::ENOENT;
        for path in &self.paths {
            let errno = exec(path, args);
            match errno {
                libc::ENOEXEC => {
                    shell[1] = path.as_ptr();
                    return exec(SHELL, shell);
                }
                // In another directory there may be one that may be run. If not, this is what to tell.
                libc::EACCES => told = errno,
                libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {
                    if self.paths.len() == 1 {
                        return errno;
                    }
                }
                errno => return errno,
            }
        }
        told
    }
}

/// A string that ends in NUL, or null.
type Pointer = *const libc::c_char;

/// Pointers to these, and a null behind.
fn pointers(strings: &[CString]) -> Vec<Pointer> {
    strings.iter().map(|string| string.as_ptr()).chain([null()]).collect()
}

/// A text as the kernel wants it.
///
/// # Errors
///
/// `EINVAL` if there is a NUL byte in it.
pub(super) fn string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// Where a program may be: at its path, or if it is a bare name, in the directories of `PATH`.
fn paths(program: &[u8], env: &[(OsString, OsString)]) -> io::Result<Vec<CString>> {
    if program.is_empty() || program.contains(&b'/') {
        return Ok(vec![string(OsStr::from_bytes(program))?]);
    }
    let path = env.iter().rev().find(|(name, _)| name == "PATH");
    let path = path.map_or(DEFAULT_PATH, |(_, value)| value.as_bytes());
    let within = |directory: &[u8]| {
        let directory: &[u8] = if directory.is_empty() { b"." } else { directory };
        string(OsStr::from_bytes(&[directory, b"/", program].concat()))
    };
    path.split(|byte| *byte == b':').map(within).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(program: &str, path: Option<&str>) -> Vec<String> {
        let env: Vec<_> = path.map(|path| ("PATH".into(), path.into())).into_iter().collect();
        let paths = paths(program.as_bytes(), &env).unwrap();
        paths.into_iter().map(|path| path.into_string().unwrap()).collect()
    }

    #[test]
    fn where_a_program_may_be() {
        assert_eq!(found("/bin/true", Some("/usr/bin")), ["/bin/true"]);
        assert_eq!(found("./true", Some("/usr/bin")), ["./true"]);
        assert_eq!(found("true", Some("/a:/b")), ["/a/true", "/b/true"]);
        assert_eq!(found("true", Some(":/b")), ["./true", "/b/true"]);
        assert_eq!(found("true", None), ["/bin/true", "/usr/bin/true"]);
        assert_eq!(found("", Some("/a")), [""]);
    }

    #[test]
    fn a_nul_byte_is_refused() {
        let einval = Some(libc::EINVAL);
        let refused = |program: &str, arg: &str, value: &str| {
            let env = [("NAME".into(), value.into())];
            Program::new(Path::new(program), &[arg.into()], &env)
                .err()
                .and_then(|e| e.raw_os_error())
        };
        assert_eq!(refused("tr\0ue", "", ""), einval);
        assert_eq!(refused("true", "\0", ""), einval);
        assert_eq!(refused("true", "", "\0"), einval);
        assert_eq!(refused("true", "", ""), None);
    }
}
