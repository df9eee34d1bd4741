//! The web studio: static files built by npm, embedded in the binary, served under `/studio/`.
//!
//! The files hold no data and need no credential; all that the studio shows comes through the public API. Addresses
//! without a file behind them answer `index.html`, because the studio's router reads them in the browser.

use actix_web::{
    HttpRequest, HttpResponse, get,
    http::header::{
        ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH, LOCATION,
        REFERRER_POLICY, VARY,
    },
    web::Path,
};
use rust_embed::{EmbeddedFile, RustEmbed};

/// Where the studio is; [`crate::auth`] lets everything below it through.
pub(crate) const PREFIX: &str = "/studio/";

/// What `npm run build` made of `gateway/studio`.
#[derive(RustEmbed)]
#[folder = "studio/dist/"]
struct Files;

/// Scripts and styles from here alone, no inline code, no other origin, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
                      connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

/// Without the slash, relative addresses would lead elsewhere.
#[get("/studio")]
pub(crate) async fn without_slash() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((LOCATION, PREFIX)).finish()
}

/// A file of the studio, or its first page.
#[get("/studio/{path:.*}")]
pub(crate) async fn page(request: HttpRequest, path: Path<String>) -> HttpResponse {
    let path = path.as_str();
    if let Some(answer) = answer(&request, path) {
        return answer;
    }
    // A missing asset must not be answered with a page: the browser would read it as a script.
    let first = if path.starts_with(HASHED) { None } else { answer(&request, "index.html") };
    first.unwrap_or_else(|| HttpResponse::NotFound().finish())
}

/// The file at a path, as the build has zipped it where the caller reads that: packed once, smaller than in passing.
fn answer(request: &HttpRequest, path: &str) -> Option<HttpResponse> {
    let zipped = unzips(request).then(|| Files::get(&format!("{path}.gz"))).flatten();
    let encoded = zipped.is_some();
    let file: EmbeddedFile = zipped.or_else(|| Files::get(path))?;
    let tag = format!("\"{}\"", hex::encode(file.metadata.sha256_hash()));
    let caching = if path.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let known = request.headers().get(IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == tag.as_bytes());
    let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .content_type(content_type(path))
        .insert_header((CACHE_CONTROL, caching))
        .insert_header((ETAG, tag))
        .insert_header((VARY, "accept-encoding"))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header(("cross-origin-opener-policy", "same-origin"))
        .insert_header(("permissions-policy", "camera=(), geolocation=(), microphone=()"));
    if encoded {
        response.insert_header((CONTENT_ENCODING, "gzip"));
    }
    Some(if known { response.finish() } else { response.body(file.data.into_owned()) })
}

/// Whether the caller reads gzip (RFC 9110, section 12.5.3).
fn unzips(request: &HttpRequest) -> bool {
    let accepted = request.headers().get_all(ACCEPT_ENCODING).filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|one| {
        let mut parts = one.split(';').map(str::trim);
        let refused = |weight: &str| weight.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        parts.next() == Some("gzip") && !parts.any(refused)
    })
}

/// Vite puts the hash of their content into the names of these files, so they never change.
const HASHED: &str = "assets/";

/// The kinds of file that the build makes.
fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        Some("json" | "map") => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use actix_web::{App, http::StatusCode, test};

    use super::*;

    async fn get(path: &str, known: Option<&str>) -> (StatusCode, actix_web::http::header::HeaderMap, Vec<u8>) {
        let app = test::init_service(App::new().service(without_slash).service(page)).await;
        let mut request = test::TestRequest::get().uri(path);
        if let Some(tag) = known {
            request = request.insert_header((IF_NONE_MATCH, tag));
        }
        let response = test::call_service(&app, request.to_request()).await;
        let (status, headers) = (response.status(), response.headers().clone());
        (status, headers, test::read_body(response).await.to_vec())
    }

    #[actix_web::test]
    async fn pages_of_the_router_are_the_first_page() {
        let (status, headers, first) = get("/studio/", None).await;
        assert_eq!((status, headers.get("cache-control").unwrap().to_str().unwrap()), (StatusCode::OK, "no-cache"));
        assert!(headers.get("content-security-policy").unwrap().to_str().unwrap().contains("script-src 'self'"));
        let (status, _, other) = get("/studio/datanets/foldoc", None).await;
        assert_eq!((status, other), (StatusCode::OK, first));
    }

    #[actix_web::test]
    async fn assets_are_kept_for_ever_and_missing_ones_are_missing() {
        let asset = Files::iter().find(|name| name.starts_with(HASHED) && name.ends_with(".js")).unwrap();
        let (status, headers, body) = get(&format!("/studio/{asset}"), None).await;
        assert_eq!(status, StatusCode::OK);
        assert!(headers.get("cache-control").unwrap().to_str().unwrap().contains("immutable"));
        assert_eq!(headers.get("content-type").unwrap(), "text/javascript; charset=utf-8");
        assert!(!body.is_empty());
        let tag = headers.get("etag").unwrap().to_str().unwrap();
        assert_eq!(get(&format!("/studio/{asset}"), Some(tag)).await.0, StatusCode::NOT_MODIFIED);
        assert_eq!(get("/studio/assets/none.js", None).await.0, StatusCode::NOT_FOUND);
    }

    #[actix_web::test]
    async fn who_reads_gzip_gets_less_and_the_same() {
        let app = test::init_service(App::new().service(page)).await;
        let asset = Files::iter().find(|name| name.starts_with(HASHED) && name.ends_with(".js")).unwrap();
        let fetched = async |accepted: &str| {
            let request = test::TestRequest::get().uri(&format!("/studio/{asset}"));
            let response = test::call_service(&app, request.insert_header((ACCEPT_ENCODING, accepted)).to_request());
            let response = response.await;
            let headers = response.headers().clone();
            (headers, test::read_body(response).await.to_vec())
        };
        let (headers, zipped) = fetched("br, gzip;q=0.8").await;
        assert_eq!(headers.get(CONTENT_ENCODING).unwrap(), "gzip");
        assert_eq!(headers.get("content-type").unwrap(), "text/javascript; charset=utf-8");
        let (plain_headers, plain) = fetched("gzip;q=0, identity").await;
        assert!(plain_headers.get(CONTENT_ENCODING).is_none());
        assert_ne!(headers.get(ETAG), plain_headers.get(ETAG));
        assert_eq!(plain, *Files::get(&asset).unwrap().data);
        assert_eq!(zipped, *Files::get(&format!("{asset}.gz")).unwrap().data);
        assert!(zipped.len() < plain.len());
    }

    #[actix_web::test]
    async fn the_slash_is_added() {
        let (status, headers, _) = get("/studio", None).await;
        assert_eq!(
            (status, headers.get("location").unwrap().to_str().unwrap()),
            (StatusCode::PERMANENT_REDIRECT, PREFIX)
        );
    }
}
