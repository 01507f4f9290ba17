//! Errors as the API shows them: the shape of Argo CD's gateway, with gRPC codes.
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;
use tako_bus::BusError;

/// What went wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// Nobody is signed in.
    #[error("no session information")]
    Unauthenticated,
    /// The name or password is wrong.
    #[error("{0}")]
    WrongPassword(String),
    /// Not allowed.
    #[error("{0}")]
    Forbidden(String),
    /// Not there.
    #[error("{0}")]
    NotFound(String),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// It does not come from who it says.
    #[error("{0}")]
    Unverified(String),
    /// The body is larger than is taken.
    #[error("{0}")]
    TooLarge(String),
    /// Not in the state that things are in.
    #[error("{0}")]
    Precondition(String),
    /// Something behind us does not answer.
    #[error("{0}")]
    Unavailable(String),
}

impl From<BusError> for WebError {
    fn from(error: BusError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl WebError {
    /// The gRPC code.
    fn code(&self) -> u8 {
        match self {
            Self::Invalid(_) => 3,
            Self::NotFound(_) => 5,
            Self::Forbidden(_) => 7,
            Self::TooLarge(_) => 8,
            Self::Precondition(_) => 9,
            Self::Unavailable(_) => 14,
            Self::Unauthenticated | Self::WrongPassword(_) | Self::Unverified(_) => 16,
        }
    }
}

impl ResponseError for WebError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Invalid(_) | Self::Precondition(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unauthenticated | Self::WrongPassword(_) | Self::Unverified(_) => StatusCode::UNAUTHORIZED,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let message = self.to_string();
        HttpResponse::build(self.status_code()).json(json!({"error": message, "message": message, "code": self.code()}))
    }
}
