//! The page, from inside the binary. Hashed assets may be kept for ever; index.html never.
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "ui/dist"]
struct Assets;

pub(super) async fn page(request: HttpRequest) -> HttpResponse {
    let path = request.path().trim_start_matches('/');
    if let Some(file) = Assets::get(path).filter(|_| !path.is_empty() && path != "index.html") {
        let kind = mime_guess::from_path(path).first_or_octet_stream();
        let keep = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
        return HttpResponse::Ok()
            .insert_header((header::CACHE_CONTROL, keep))
            .content_type(kind.as_ref())
            .body(file.data.into_owned());
    }
    if path.rsplit('/').next().is_some_and(|name| name.contains('.')) {
        return HttpResponse::NotFound().finish();
    }
    match Assets::get("index.html") {
        Some(index) => HttpResponse::Ok()
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .content_type("text/html; charset=utf-8")
            .body(index.data.into_owned()),
        None => HttpResponse::NotFound().finish(),
    }
}
