// Hands an mp3 that grows to the player as it comes. Left to itself, a browser waits for several seconds of it.
const KIND = "audio/mpeg";
const PATIENCE = 500; // ms, while the player has no room for more
let leave = () => {};

const append = async (buffer, piece) => {
  for (;;) {
    try {
      buffer.appendBuffer(piece);
      break;
    } catch (error) {
      if (error.name !== "QuotaExceededError") throw error;
      await new Promise((resolve) => setTimeout(resolve, PATIENCE));
    }
  }
  if (buffer.updating) await new Promise((resolve) => buffer.addEventListener("updateend", resolve, { once: true }));
};

const fill = async (source, address, signal) => {
  const buffer = source.addSourceBuffer(KIND);
  const reader = (await fetch(address, { signal })).body.getReader();
  for (let next = await reader.read(); !next.done; next = await reader.read()) await append(buffer, next.value);
  source.endOfStream();
};

const start = () => {
  leave();
  leave = () => {};
  const player = element.querySelector("audio");
  if (!player) return;
  const Source = window.ManagedMediaSource ?? window.MediaSource;
  if (Source?.isTypeSupported(KIND)) {
    const source = new Source();
    const gone = new AbortController();
    const url = URL.createObjectURL(source);
    leave = () => {
      gone.abort();
      URL.revokeObjectURL(url);
    };
    source.addEventListener(
      "sourceopen",
      () => fill(source, player.dataset.address, gone.signal).catch((error) => console.debug("live sound ended", error)),
      { once: true },
    );
    player.disableRemotePlayback = true; // without it, a managed source does not open
    player.src = url;
  } else {
    player.src = player.dataset.address;
  }
  player.play().catch(() => {}); // where pages must not start sound themselves, its button does
};

watch("value", start);
