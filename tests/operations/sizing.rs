//! What the page says of the size of a machine, where no other page does.

use std::fs;
use std::path::Path;

use crate::page::read;
use crate::scene::Scene;
use crate::support::folder::Folder;

/// Those of the server itself, the ones that it keeps back included.
#[test]
fn it_needs_so_many_descriptors() {
    let said = "one for each connection, and up to forty for the server itself";
    assert!(read("docs/operations.md").contains(said), "{said}");
    let folder = Folder::new();
    let scene = Scene::start("", Some(folder.path()), &[]);
    let open = || {
        let all = Path::new("/proc").join(scene.server.pid().to_string()).join("fd");
        fs::read_dir(all).expect("it runs").count()
    };
    assert_eq!(scene.get("/readyz"), "200");
    assert!((20..=40).contains(&open()), "{}", open());
}
