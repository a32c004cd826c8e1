//! The page of a result, in a browser without a screen.

use std::process::Stdio;

use jq_client::{Address, Client, ClientOptions, PutOptions};
use jq_quickstart::folder::Folder;
use jq_quickstart::programs::project;
use tokio::process::Command;
use tokio::time::timeout;

use crate::peer;
use crate::support::{PATIENCE, is_there};
use crate::website::{Site, TUBE};

/// The page as the browser has it when nothing is under way any more. `None`: there is no browser.
async fn page(folder: &Folder, results: &str, query: &str) -> Option<String> {
    let Some(browser) = peer::executable("chromium") else {
        peer::skip("a browser", "chromium is not installed (Debian: apt-get install chromium)");
        return None;
    };
    let page = std::fs::read_to_string(project().join("examples/website/result.html")).unwrap();
    let ours = "http://127.0.0.1:11380";
    assert_eq!(page.matches(ours).count(), 1, "there is one address to change");
    let page = page.replace(ours, results);
    let file = folder.join("result.html");
    std::fs::write(&file, page).unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .arg(format!("--user-data-dir={}", folder.join("browser").display()))
        .args(["--virtual-time-budget=10000", "--dump-dom"])
        .arg(format!("file://{}?{query}", file.display()))
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, output).await.expect("the browser ends").unwrap();
    Some(String::from_utf8(output.stdout).unwrap())
}

async fn put(site: &Site, job: &str) {
    let mut client = Client::new(Address::from(site.queue.address), ClientOptions::default());
    client.use_tube(&TUBE.parse().unwrap());
    client.put(job.as_bytes(), PutOptions::default()).await.unwrap();
}

#[tokio::test]
async fn it_shows_the_output_and_the_picture() {
    if !is_there("a handler in Python", "python3", &["--version"]) {
        return;
    }
    let (site, folder) = (Site::start().await, Folder::new().unwrap());
    let id = "13775310-8f59-412e-aa2c-549a20077664";
    let walk = r#"{"start":[0,0],"wind":[0.1,0.05],"seed":42,"steps":400}"#;
    put(&site, &format!(r#"{{"id":"{id}","type":"drunken_sailor","args":{walk}}}"#)).await;
    site.result(id).await;
    let results = format!("http://{}", site.worker.address);
    let shown = page(&folder, &results, &format!("id={id}")).await;
    site.stop().await;
    let Some(shown) = shown else { return };
    for text in [
        "<h1 id=\"headline\">Done</h1>",
        "distance: 65",
        &format!("<a href=\"{results}/{id}/walk.png\">walk.png</a>"),
        // It is there only once the browser has it, whole.
        &format!("<img alt=\"walk.png\" src=\"{results}/{id}/walk.png\">"),
    ] {
        assert!(shown.contains(text), "{text} is not in\n{shown}");
    }
}

/// Names, types and contents are whatever a process has left.
#[tokio::test]
async fn what_a_process_leaves_is_text() {
    let (site, folder) = (Site::start().await, Folder::new().unwrap());
    let id = "13775310-8f59-412e-aa2c-549a20077665";
    put(&site, &format!(r#"{{"id":"{id}","type":"checksum","custom":"<b>x</b>"}}"#)).await;
    site.result(id).await;
    let results = format!("http://{}", site.worker.address);
    let shown = page(&folder, &results, &format!("id={id}")).await;
    let unknown = page(&folder, &results, "id=<b>x</b>").await;
    site.stop().await;
    let (Some(shown), Some(unknown)) = (shown, unknown) else { return };
    assert!(shown.contains("<h1 id=\"headline\">It failed</h1>"), "{shown}");
    assert!(shown.contains("<ul id=\"artifacts\" hidden=\"\"></ul>"), "{shown}");
    assert!(unknown.contains("<h1 id=\"headline\">Not found</h1>"), "{unknown}");
    assert!(!unknown.contains("<b>"), "{unknown}");
}
