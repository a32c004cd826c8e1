//! Output directories full of what is no artifact.

use std::fs;

use crate::ending::{begin, end};
use crate::rig::Rig;

/// How much room the artifacts in the state directory take up, in bytes.
fn kept(rig: &Rig) -> u64 {
    let shelves = fs::read_dir(rig.dir.join("results/artifacts")).unwrap();
    let folders = shelves.flat_map(|shelf| fs::read_dir(shelf.unwrap().path()).unwrap());
    let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn what_is_no_file_of_the_job_is_neither_read_nor_served() {
    let (rig, queue) = begin();
    let secret = rig.dir.join("secret");
    fs::write(&secret, "secret").unwrap();
    fs::create_dir(rig.dir.join("outside")).unwrap();
    fs::write(rig.dir.join("outside/inner"), "secret").unwrap();
    rig.handler("good", "echo 1", "");
    let links = r#"cd "$JQ_OUTPUT_DIR"; echo fine > fine.txt; ln -s "$HOME/secret" link
        ln "$HOME/secret" hard; ln -s "$HOME/outside" folder; ln -s / root; ln -s . itself
        mkfifo pipe"#;
    rig.handler("links", links, "");
    let names = r#"cd "$JQ_OUTPUT_DIR"; ln -s /dev/zero zero; mkdir -p log/x; : > log/x/y; : > rerun
        : > "$(printf 'latin-\344')"; : > "$(printf 'line\nfeed')"; : > 'back\slash'"#;
    rig.handler("names", names, "");
    // The directory is another one, or a link, or none, when its job is over.
    rig.handler("swaps", r#"rmdir "$JQ_OUTPUT_DIR"; ln -s "$HOME/outside" "$JQ_OUTPUT_DIR""#, "");
    rig.handler("removes", r#"rmdir "$JQ_OUTPUT_DIR""#, "");
    rig.handler("is_file", r#"rmdir "$JQ_OUTPUT_DIR"; : > "$JQ_OUTPUT_DIR""#, "");
    let worker = rig.work(&queue, &[]);
    for (kind, names) in [
        ("links", &["fine.txt"][..]),
        ("names", &["log/x/y"]),
        ("swaps", &[]),
        ("removes", &[]),
        ("is_file", &[]),
    ] {
        let job = rig.job(kind);
        queue.put(job.body());
        let result = rig.result(&job);
        assert_eq!(result["status"], "successful", "{kind}");
        let artifacts = result["artifacts"].as_array().map(Vec::as_slice).unwrap_or_default();
        let listed: Vec<_> = artifacts.iter().map(|it| it["name"].as_str().unwrap()).collect();
        assert_eq!(listed, names, "{kind}");
        let notes = result["notes"].to_string();
        match kind {
            "links" => {
                for why in ["symbolic link", "hard links outside", "no regular file"] {
                    assert!(notes.contains(why), "{why}: {notes}");
                }
            }
            "names" => {
                for why in ["meaning of their own", "not UTF-8", "nor backslashes"] {
                    assert!(notes.contains(why), "{why}: {notes}");
                }
            }
            "removes" => assert_eq!(notes, "null"),
            _ => assert!(notes.contains("no directory any more"), "{notes}"),
        }
        for name in ["link", "hard", "folder/inner", "root/etc/passwd", "itself/fine.txt", "inner"]
        {
            let answer = worker.get(&format!("{}/{name}", job.path()));
            assert_eq!(answer.status(), 404, "{kind}: {name}");
        }
        for path in ["../../../secret", "%2e%2e/%2e%2e/secret", "..%2f..%2fsecret", "fine.txt/.."] {
            let answer = worker.get(&format!("{}/{path}", job.path()));
            assert_eq!(answer.status(), 404, "{kind}: {path}");
        }
    }
    assert_eq!(kept(&rig), 5, "what was fine, and nothing else");
    end(&rig, &queue, worker, 0);
    assert_eq!(fs::read(&secret).unwrap(), b"secret");
    assert_eq!(fs::read_dir(rig.dir.join("outside")).unwrap().count(), 1);
}

#[test]
fn there_can_be_far_too_much() {
    let (rig, queue) = begin();
    rig.configure("[artifacts]\nmax_files = 100\nmax_bytes = '64 KiB'");
    rig.handler("good", "echo 1", "");
    let many = r#"cd "$JQ_OUTPUT_DIR"; seq -f f%06g 100000 | xargs touch"#;
    rig.handler("many", many, "");
    rig.handler(
        "sparse",
        r#"truncate -s 1T "$JQ_OUTPUT_DIR/huge"; : > "$JQ_OUTPUT_DIR/small""#,
        "",
    );
    rig.handler(
        "deep",
        r#"cd "$JQ_OUTPUT_DIR"; exec perl -e 'for (1..3000) { mkdir "d"; chdir "d" or die }'"#,
        "",
    );
    let long = r#"cd "$JQ_OUTPUT_DIR"; n=$(printf '%0250d' 0); mkdir -p $n/$n; : > $n/$n/$n"#;
    rig.handler("long", long, "");
    let worker = rig.work(&queue, &[]);
    for (kind, count, why) in [
        ("many", 100, "there is far too much in the output directory"),
        ("sparse", 1, "it has 1099511627776 bytes, and all may have 65536 together"),
        ("deep", 0, "folders may be 16 deep"),
        ("long", 0, "expected 1 to 512 bytes"),
    ] {
        let job = rig.job(kind);
        queue.put(job.body());
        let result = rig.result(&job);
        assert_eq!(result["status"], "successful", "{kind}");
        let listed = result["artifacts"].as_array().map_or(0, Vec::len);
        assert_eq!(listed, count, "{kind}");
        let notes = result["notes"].as_array().unwrap();
        assert!(notes.len() <= 11, "{kind}: {notes:?}");
        assert!(notes.iter().any(|it| it.as_str().unwrap().contains(why)), "{kind}: {notes:?}");
        assert!(result.to_string().len() < 100_000, "{kind}");
    }
    end(&rig, &queue, worker, 0);
}
