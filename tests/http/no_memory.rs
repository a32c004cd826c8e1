//! No more memory: puts are refused, and all else goes on.

use crate::client::Http;
use crate::support::eventually;
use crate::support::procfs::address_space;

/// Addresses that a server may have besides those that it begins with, in bytes.
const MORE: u64 = 160 << 20;

const JOBS: &str = "/api/v1/tubes/t/jobs";

#[test]
fn jobs_until_there_is_no_room() {
    let flags = ["-z", "100000000"];
    let begins = address_space(Http::operating(&flags).server.pid());
    let script = format!("ulimit -v {} && exec \"$@\"", (begins + MORE) >> 10);
    for size in [700_000, 30_000_000, 90_000_000] {
        let http = Http::by_shell(&script, &flags);
        let body = vec![b'x'; size];
        let mut taken = 0;
        let refused = loop {
            let put = http.send("POST", JOBS, &[], &body);
            if put.status != 201 {
                break put;
            }
            taken += 1;
        };
        refused.is_problem(507, "out-of-memory");
        // Everybody else is served.
        assert_eq!(http.get("/healthz").status, 200);
        assert_eq!(http.get("/api/v1/tubes/t").expect(200)["jobs"]["ready"], taken);
        http.queue().ask("stats");
        assert_eq!(http.post("/api/v1/tubes/t/clear", "").expect(200)["changed"], taken);
        eventually("there is room for jobs", || {
            http.send("POST", JOBS, &[], &[b'x'; 50_000]).status == 201
        });
        assert_eq!(http.get("/readyz").status, 200);
    }
}
