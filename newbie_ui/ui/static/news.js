/* News of running jobs: a stream from the server (`news`) that is open while there are any. It ends by itself, and when
   it breaks the header's next look at the server opens it again. */
(function () {
  "use strict";
  const { on, emit } = nb;
  let source = null, wanted = false;

  function close() {
    if (source) source.close();
    source = null;
  }
  function open() {
    wanted = false;
    source = new EventSource("news");
    source.onmessage = (event) => emit("news", JSON.parse(event.data));
    source.onerror = close;
    source.addEventListener("end", () => { close(); if (wanted) open(); emit("ask"); });
  }
  /* `fresh`: a job was just queued. The stream that is open may have ended before it came. */
  on("follow", (fresh) => { if (!source) open(); else if (fresh) wanted = true; });
  addEventListener("pagehide", close);
})();
