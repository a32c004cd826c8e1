use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("jq-shared-{}", Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn open(&self) -> Result<SharedStore, String> {
        let url = check_url(&format!("file://{}", self.0.display())).unwrap();
        SharedStore::open(&SharedOptions { url, options: Vec::new(), ca_files: Vec::new() })
    }

    fn file(&self, name: &str, text: &[u8]) -> File {
        std::fs::write(self.0.join(name), text).unwrap();
        File::open(self.0.join(name)).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn at(time: &str) -> (Timestamp, Bytes) {
    (time.parse().unwrap(), format!("{{\"timestamp\":\"{time}\"}}\n").into())
}

#[tokio::test]
async fn a_result_and_its_artifacts_are_there_for_others() {
    let folder = Folder::new();
    let (one, other) = (folder.open().unwrap(), Arc::new(folder.open().unwrap()));
    let id = Uuid::from_u128(7);
    let (time, body) = at("2026-11-22T12:03:10.120Z");
    assert_eq!(other.result(id).await.unwrap(), None);
    one.put_result(id, time, body.clone(), false).await.unwrap();
    assert_eq!(other.result(id).await.unwrap(), Some(body));

    let text = vec![b'x'; PART as usize + 3];
    let artifact = Artifact {
        name: "a/b.txt".parse().unwrap(),
        media_type: "text/plain".to_owned(),
        bytes: text.len() as u64,
        digest: String::new(),
        url: None,
    };
    let key = (id, time, 1);
    assert!(!other.has_artifact(key, &artifact).await.unwrap());
    one.put_artifact(key, &artifact, folder.file("file", &text)).await.unwrap();
    assert!(other.has_artifact(key, &artifact).await.unwrap());
    let end = artifact.bytes;
    let read: Vec<_> = other.clone().read_artifact(key, end - 2..end).collect().await;
    let read: Vec<_> = read.into_iter().map(Result::unwrap).collect();
    assert_eq!(read.concat(), b"xx");
    assert_eq!(other.clone().read_artifact(key, 0..0).count().await, 0);
    let missing: Vec<_> = other.read_artifact((id, time, 2), 0..1).collect().await;
    assert!(missing.len() == 1 && missing[0].is_err());
    assert!(one.put_artifact((id, time, 4), &artifact, folder.file("cut", b"x")).await.is_err());
    assert!(!one.has_artifact((id, time, 4), &artifact).await.unwrap());
    let artifact = Artifact { bytes: 3, ..artifact };
    one.put_artifact(key, &artifact, folder.file("short", b"abc")).await.unwrap();
    assert!(one.has_artifact(key, &artifact).await.unwrap());
    // A file that is shorter than the result tells is no artifact.
    let cut = one.put_artifact((id, time, 3), &artifact, folder.file("cut", b"x")).await;
    assert!(matches!(cut, Err(SharedError::Here(_))), "{cut:?}");
}

#[tokio::test]
async fn a_late_result_gives_way_to_a_later_one() {
    let folder = Folder::new();
    let store = folder.open().unwrap();
    let id = Uuid::from_u128(7);
    let ((first, old), (second, new)) = (at("2026-11-22T12:00:00Z"), at("2026-11-22T12:00:01Z"));
    store.put_result(id, second, new.clone(), true).await.unwrap();
    store.put_result(id, first, old.clone(), true).await.unwrap();
    assert_eq!(store.result(id).await.unwrap(), Some(new));
    store.put_result(id, first, old.clone(), false).await.unwrap();
    assert_eq!(store.result(id).await.unwrap(), Some(old));
}

#[tokio::test]
async fn a_folder_that_is_gone_is_not_made_anew() {
    let folder = Folder::new();
    let store = folder.open().unwrap();
    std::fs::remove_dir(&folder.0).unwrap();
    let (time, body) = at("2026-11-22T12:00:00Z");
    let refused = store.put_result(Uuid::nil(), time, body, false).await.unwrap_err();
    assert!(refused.to_string().contains("No such file"), "{refused}");
    assert!(store.result(Uuid::nil()).await.is_err() && !folder.0.exists());
    assert!(folder.open().unwrap_err().contains("No such file"));
}

#[test]
fn options_are_checked_and_not_shown() {
    let url = check_url("s3://bucket/a").unwrap();
    let given = |name: &str| SharedOptions {
        url: url.clone(),
        options: vec![(name.to_owned(), "s3cret".to_owned())],
        ca_files: Vec::new(),
    };
    let refused = SharedStore::open(&given("AWS_SECRET")).unwrap_err();
    assert_eq!(refused, "AWS_SECRET is no option of s3://");
    let options = given("AWS_SECRET_ACCESS_KEY");
    assert!(!format!("{options:?}").contains("s3cret"));
    if let Ok(store) = SharedStore::open(&options) {
        assert!(!format!("{store:?}").contains("s3cret"));
        assert_eq!(store.name(), "s3://bucket/a");
    }
}
