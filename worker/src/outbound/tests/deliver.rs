use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use super::*;

async fn deliver(outbound: &Outbound, url: &Url) -> Result<(), DeliverError> {
    outbound.deliver(Method::Put, url, Bytes::from_static(b"{}"), HeaderMap::new()).await
}

#[tokio::test]
async fn a_body_is_delivered_with_its_headers() {
    let peer = Peer::start().await;
    let outbound = peer.outbound();
    let url = peer.url("/created?token=a");
    deliver(&outbound, &url).await.unwrap();

    let signer = Signer::new(&["a secret of some length".to_owned()]).unwrap();
    let mut headers = signer.headers("msg_1", 1_614_265_330, b"hello");
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    let body = Bytes::from_static(b"hello");
    outbound.deliver(Method::Post, &url, body, headers).await.unwrap();

    let requests = peer.requests();
    let [requests] = &requests[..] else { panic!("several connections: {requests:?}") };
    let [put, post] = &requests[..] else { panic!("{requests:?}") };
    assert!(put.starts_with("PUT /created?token=a HTTP/1.1\r\n"), "{put}");
    assert!(put.contains("content-type: application/json\r\n"), "{put}");
    assert!(put.ends_with("\r\n\r\n{}"), "{put}");
    assert!(post.starts_with("POST /created?token=a HTTP/1.1\r\n"), "{post}");
    assert!(post.contains("content-type: text/plain\r\n"), "{post}");
    assert!(!post.contains("application/json"), "{post}");
    assert!(post.contains("webhook-id: msg_1\r\nwebhook-timestamp: 1614265330\r\n"), "{post}");
    assert!(post.contains("webhook-signature: v1,"), "{post}");
    assert!(post.ends_with("\r\n\r\nhello"), "{post}");
}

#[tokio::test]
async fn anything_but_success_is_an_error() {
    let peer = Peer::start().await;
    let outbound = peer.outbound();
    for (path, status, temporary, seconds) in [
        ("/missing", 404, false, None),
        ("/redirect", 302, false, None),
        ("/busy", 503, true, Some(20)),
    ] {
        let error = deliver(&outbound, &peer.url(path)).await.unwrap_err();
        assert_eq!(error.status().unwrap().as_u16(), status);
        assert_eq!(error.is_temporary(), temporary);
        assert_eq!(error.retry_after(), seconds.map(Duration::from_secs));
    }
}

#[tokio::test]
async fn an_answer_that_does_not_end_changes_nothing() {
    let peer = Peer::start().await;
    let outbound = peer.outbound();
    for path in ["/endless", "/trickle", "/stops", "/short", "/announced"] {
        deliver(&outbound, &peer.url(path)).await.unwrap_or_else(|error| panic!("{error}"));
    }
    // None of those connections is used again; one whose answer ended is.
    for _ in 0..2 {
        deliver(&outbound, &peer.url("/created")).await.unwrap();
    }
    let lengths: Vec<_> = peer.requests().iter().map(Vec::len).collect();
    assert_eq!(lengths, [1, 1, 1, 1, 1, 2]);
}

#[tokio::test]
async fn a_url_that_is_refused_is_not_connected_to() {
    let peer = Peer::start().await;
    let outbound = Outbound::new(&Options::default()).unwrap();
    let error = deliver(&outbound, &peer.url("/created")).await.unwrap_err();
    assert!(matches!(error.failure(), Failure::Refused(Refused::NotPublic { .. })), "{error:?}");
    assert!(peer.seen.lock().unwrap().is_empty());
}

#[test]
fn what_cannot_be_set_up_says_why() {
    let options = Options { allow_urls: vec!["nonsense".to_owned()], ..Options::default() };
    let error = Outbound::new(&options).unwrap_err();
    assert!(error.to_string().contains("allow_urls: \"nonsense\""), "{error}");
    let options = Options { user_agent: "a\nb".to_owned(), ..Options::default() };
    assert!(matches!(Outbound::new(&options), Err(BuildError::Client(_))));
}
