// The way to the kernel: a snapshot when asked, then changes with numbers that leave no hole.

const ASK_AGAIN_MS = 3000;

export class Link {
  constructor(model, { onSnapshot, onChange, onSaid, onPulse }) {
    Object.assign(this, { model, onSnapshot, onChange, onSaid, onPulse });
    this.seq = null;
    this.boards = [];
    this.heard = 0;
    this.asked = 0;
    this.receive = (content, buffers) => this.#receive(content, buffers);
    model.on("msg:custom", this.receive);
    this.timer = setInterval(() => this.#pulse(), 1000);
    this.#hello();
  }

  send(content) {
    try {
      this.model.send(content);
    } catch {
      // The kernel is gone: the pulse says so.
    }
  }

  close() {
    clearInterval(this.timer);
    this.model.off("msg:custom", this.receive);
  }

  #hello() {
    this.asked = Date.now();
    this.send({ kind: "hello" });
  }

  #pulse() {
    if (this.seq === null && Date.now() - this.asked > ASK_AGAIN_MS) this.#hello();
    this.onPulse(this.heard ? Date.now() - this.heard : null);
  }

  #receive(content, buffers) {
    this.heard = Date.now();
    const body = buffers?.length ? JSON.parse(new TextDecoder().decode(buffers[0])) : content.body;
    if (content.kind === "snapshot") {
      this.seq = content.seq;
      this.boards = body;
      this.onSnapshot(body);
    } else if (content.kind === "delta") {
      if (this.seq === null) return;
      if (content.seq !== this.seq + 1) {
        if (content.seq > this.seq) {
          this.seq = null;
          this.#hello();
        }
        return;
      }
      this.seq = content.seq;
      for (const [place, parts] of Object.entries(body)) this.onChange(Number(place), merged(this.boards[place], parts));
    } else this.onSaid(content.kind, body);
    this.onPulse(0);
  }
}

const MOST = { bars: 2000, equity: 2000, fills: 200, log: 300 };

// Takes changes into a board, and returns them as they are to be drawn.
function merged(board, parts) {
  for (const [name, part] of Object.entries(parts)) {
    if (name === "bars" || name === "equity") append(board[name], part, MOST[name]);
    else if (name === "fills") upsert(board.fills, part);
    else if (name === "log") {
      board.log.push(...part);
      board.log.splice(0, board.log.length - MOST.log);
    } else if (name === "state" || name === "drift") Object.assign(board[name], part);
    else board[name] = part;
  }
  return parts;
}

function append(rows, fresh, most) {
  for (const row of fresh) {
    if (rows.length && rows[rows.length - 1][0] === row[0]) rows[rows.length - 1] = row;
    else rows.push(row);
  }
  rows.splice(0, rows.length - most);
}

function upsert(rows, fresh) {
  for (const row of fresh) {
    const place = rows.findLastIndex((one) => one[0] === row[0]);
    if (place >= 0) rows[place] = row;
    else rows.push(row);
  }
  rows.splice(0, rows.length - MOST.fills);
}
