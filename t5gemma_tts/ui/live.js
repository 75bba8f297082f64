// Feeds an mp3 that grows to the player chunk by chunk. Without this, browsers buffer several seconds before they play.
const KIND = "audio/mpeg";
const RETRY_MS = 500; // wait this long when the player's buffer is full
let stop = () => {};

const append = async (buffer, chunk) => {
  for (;;) {
    try {
      buffer.appendBuffer(chunk);
      break;
    } catch (error) {
      if (error.name !== "QuotaExceededError") throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
  if (buffer.updating) await new Promise((resolve) => buffer.addEventListener("updateend", resolve, { once: true }));
};

const fill = async (source, url, signal) => {
  const buffer = source.addSourceBuffer(KIND);
  const reader = (await fetch(url, { signal })).body.getReader();
  for (let next = await reader.read(); !next.done; next = await reader.read()) await append(buffer, next.value);
  source.endOfStream();
};

const start = () => {
  stop();
  stop = () => {};
  const player = element.querySelector("audio");
  if (!player) return;
  const Source = window.ManagedMediaSource ?? window.MediaSource;
  if (Source?.isTypeSupported(KIND)) {
    const source = new Source();
    const abort = new AbortController();
    const objectUrl = URL.createObjectURL(source);
    stop = () => {
      abort.abort();
      URL.revokeObjectURL(objectUrl);
    };
    source.addEventListener(
      "sourceopen",
      () => fill(source, player.dataset.url, abort.signal).catch((error) => console.debug("live audio ended", error)),
      { once: true },
    );
    player.disableRemotePlayback = true; // a managed source does not open without this
    player.src = objectUrl;
  } else {
    player.src = player.dataset.url;
  }
  player.play().catch(() => {}); // browsers may forbid autoplay; the user then presses play
};

watch("value", start);
