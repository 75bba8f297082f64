"""Routes for models, health, readiness and metrics."""

from fastapi import APIRouter, Response

from .errors import NotFound, ShuttingDown, SpeechFailed
from .schemas import AudioModelList, ModelInfo, ModelList, Status
from .service import Service


def status_router(service: Service) -> APIRouter:
    router = APIRouter(tags=["status"])
    models = [ModelInfo(id=name, name=name, created=service.created) for name in service.names.listed_models()]

    @router.get("/v1/models", response_model=ModelList)
    async def list_models() -> ModelList:
        """List the names of the model, and names that clients send by default."""
        return ModelList(data=models)

    @router.get("/v1/audio/models", response_model=AudioModelList)
    async def list_audio_models() -> AudioModelList:
        """The list of `/v1/models`, as clients read it that ask here."""
        return AudioModelList(data=models, models=models)

    @router.get("/v1/models/{name:path}", response_model=ModelInfo)
    async def get_model(name: str) -> ModelInfo:
        """Return one name of the list, or 404."""
        for model in models:
            if model.id == name:
                return model
        raise NotFound(f"there is no model {name!r:.200} in the list.", param="model")

    @router.get("/health", response_model=Status)
    async def health() -> Status:
        """Liveness: 500 if the worker thread has died and the server needs a restart."""
        if not (service.synthesis.alive or service.draining):
            raise SpeechFailed("the worker thread has died.")
        return Status(status="ok")

    @router.get("/ready", response_model=Status)
    async def ready() -> Status:
        """Readiness: 503 while the server shuts down."""
        if not service.ready:
            raise ShuttingDown("the server is shutting down.")
        return Status(status="ready")

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Metrics in Prometheus' text format."""
        return Response(service.metrics.text(), headers={"Content-Type": service.metrics.content_type})

    return router


__all__ = ["status_router"]
