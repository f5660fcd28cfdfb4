//! The answer to a call: messages, then the status in the trailers.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, header};
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};
use hyper::body::Frame;
use prost::Message;
use tonic::Status;

use super::status::status;
use crate::http::Failure;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
/// What a sender may pack its messages with.
const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,gzip,zstd,deflate");

/// An answer of one message.
pub(crate) fn one<M: Message + 'static>(result: Result<M, Failure>) -> Response<Body> {
    match result {
        Ok(message) => many(stream::iter([Ok(message)])),
        Err(failure) => refused(&failure),
    }
}

/// An answer of messages as they come; an error ends it.
pub(crate) fn many<M: Message + 'static>(
    messages: impl Stream<Item = Result<M, Failure>> + Send + 'static,
) -> Response<Body> {
    let frames = messages.map(|message| match message {
        Ok(message) => Ok(framed(&message)),
        Err(failure) => Err(status(&failure)),
    });
    response(Body::new(Answer { frames: Some(frames.boxed()) }))
}

/// An answer that is a status only.
pub(crate) fn refused(failure: &Failure) -> Response<Body> {
    refused_with(status(failure))
}

/// The same of a status.
pub(crate) fn refused_with(status: Status) -> Response<Body> {
    let mut answer = status.into_http::<Body>();
    answer.headers_mut().insert("grpc-accept-encoding", ACCEPTED);
    answer
}

fn response(body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    answer.headers_mut().insert("grpc-accept-encoding", ACCEPTED);
    answer
}

fn framed(message: &impl Message) -> Bytes {
    let len = message.encoded_len();
    let mut frame = BytesMut::with_capacity(len + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    message.encode(&mut frame).expect("the buffer grows");
    frame.freeze()
}

/// Messages and, at the end, the trailers.
struct Answer {
    /// `None` once the trailers were sent.
    frames: Option<BoxStream<'static, Result<Bytes, Status>>>,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(frames) = &mut self.frames else { return Poll::Ready(None) };
        let status = match frames.poll_next_unpin(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Some(Ok(Frame::data(frame)))),
            Poll::Ready(Some(Err(status))) => status,
            Poll::Ready(None) => Status::ok(""),
        };
        self.frames = None;
        let mut trailers = HeaderMap::new();
        if status.add_header(&mut trailers).is_err() {
            trailers.insert("grpc-status", HeaderValue::from_static("13"));
        }
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}
