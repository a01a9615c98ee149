// The player: sprites from this page's own data, drawn frame by frame; maps get their colours here.
"use strict";
(() => {
  const { shows, palette } = JSON.parse(document.getElementById("data").textContent);
  const RULES = { paper: "paper's rule", first_order: "first-order rule" };
  const at = (id) => document.getElementById(id);
  const state = { show: shows[0], layer: shows[0].layers[0], neuron: 0, rule: "first_order", frame: 0, timer: 0 };
  const images = new Map();
  const scratch = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

  const sheet = (name) => {
    const key = state.show.family + "/" + name;
    if (!images.has(key)) {
      const image = new Image();
      image.src = state.show.sprites[name];
      images.set(key, image.decode().then(() => image));
    }
    return images.get(key);
  };

  const tile = (image, k) => {
    const [h, w] = state.show.cell, n = state.show.columns;
    scratch.canvas.width = w;
    scratch.canvas.height = h;
    scratch.drawImage(image, (k % n) * w, Math.floor(k / n) * h, w, h, 0, 0, w, h);
    return scratch.getImageData(0, 0, w, h);
  };

  const put = (canvas, pixels) => {
    if (canvas.width !== pixels.width || canvas.height !== pixels.height) [canvas.width, canvas.height] = [pixels.width, pixels.height];
    canvas.getContext("2d").putImageData(pixels, 0, 0);
  };

  const coloured = (pixels) => {
    for (let i = 0; i < pixels.data.length; i += 4) {
      const v = 3 * pixels.data[i + 1];
      for (let c = 0; c < 3; c++) pixels.data[i + c] = palette[v + c];
    }
    return pixels;
  };

  const lit = (pixels, map) => {
    for (let i = 0; i < pixels.data.length; i += 4) {
      const light = 0.1 + 0.9 * map[i + 1] / 255;
      for (let c = 0; c < 3; c++) pixels.data[i + c] *= light;
    }
    return pixels;
  };

  const mapName = (rule, k) => `${state.layer.name}/${rule}/${k}`;

  async function draw() {
    const { show, layer, frame, rule, neuron } = state;
    const buttons = [...at("maps").querySelectorAll("button")];
    const sheets = await Promise.all(["frame", "picture", ...buttons.map((b) => b.dataset.map)].map(sheet));
    if (show !== state.show || layer !== state.layer || frame !== state.frame) return; // overtaken by a newer choice
    put(at("truth"), tile(sheets[0], frame));
    put(at("painted"), tile(sheets[1], frame));
    buttons.forEach((button, k) => {
      const pixels = tile(sheets[k + 2], frame);
      if (button.dataset.map === mapName(state.rule, state.neuron)) put(at("lit"), lit(tile(sheets[0], frame), pixels.data));
      put(button.querySelector("canvas"), coloured(pixels));
      button.setAttribute("aria-pressed", String(button.dataset.map === mapName(state.rule, state.neuron)));
    });
    at("frame").value = frame;
    at("which").textContent = `${show.frames[frame]}`;
    at("frame").setAttribute("aria-valuetext", `frame ${show.frames[frame]}`);
    at("quality").textContent = `reconstruction, ${show.psnr[frame].toFixed(1)} dB`;
    at("chosen").textContent = `the frame, lit where neuron ${layer.neurons[state.neuron]} paints (${RULES[state.rule]})`;
    at("player").dataset.drawn = `${show.family} ${layer.name} ${frame} ${state.rule} ${state.neuron}`;
  }

  const radios = (id, items, label, chosen, pick) => {
    const set = at(id);
    set.querySelectorAll("label").forEach((old) => old.remove());
    items.forEach((item) => {
      const box = document.createElement("label"), input = document.createElement("input"), text = document.createElement("span");
      Object.assign(input, { type: "radio", name: id, checked: item === chosen });
      input.addEventListener("change", () => pick(item));
      text.textContent = label(item);
      box.append(input, text);
      set.append(box);
    });
    set.hidden = items.length < 2;
  };

  const listMaps = () => {
    const box = at("maps"), { layer } = state;
    box.replaceChildren();
    for (const rule of Object.keys(RULES)) {
      const head = document.createElement("h4");
      head.textContent = RULES[rule][0].toUpperCase() + RULES[rule].slice(1);
      box.append(head);
      layer.neurons.forEach((number, k) => {
        const button = document.createElement("button"), text = document.createElement("span");
        Object.assign(button, { type: "button" });
        button.dataset.map = mapName(rule, k);
        button.setAttribute("aria-label", `map of neuron ${number} under the ${RULES[rule]}`);
        text.textContent = `neuron ${number}`;
        button.append(document.createElement("canvas"), text);
        button.addEventListener("click", () => { Object.assign(state, { rule, neuron: k }); draw(); });
        box.append(button);
      });
    }
    const percent = layer.shares.map((s) => (100 * s).toPrecision(2) + " %").join(", ");
    at("among").textContent =
      `The strongest of ${layer.among.toLocaleString("en")} neurons of ${layer.name} on the middle frame, by first-order totals; ` +
      `they hold ${percent} of what these contribute.`;
  };

  const setLayer = (layer) => {
    Object.assign(state, { layer, neuron: 0 });
    listMaps();
    draw();
  };

  const setShow = (show) => {
    pause();
    const middle = Math.floor(show.frames.length / 2);
    Object.assign(state, { show, frame: middle });
    at("frame").max = show.frames.length - 1;
    document.querySelector(".time").hidden = show.frames.length < 2;
    const first = show.layers[Math.max(0, show.layers.length - 2)]; // the last in which the two rules differ
    radios("layers", show.layers, (l) => l.name, first, setLayer);
    setLayer(first);
  };

  const step = (by) => {
    const n = state.show.frames.length;
    state.frame = (state.frame + by + n) % n;
    draw();
  };

  const pause = () => {
    clearInterval(state.timer);
    state.timer = 0;
    at("play").textContent = "Play";
    at("play").setAttribute("aria-pressed", "false");
  };

  at("play").addEventListener("click", () => {
    if (state.timer) return pause();
    state.timer = setInterval(() => step(1), 1000 / state.show.fps);
    at("play").textContent = "Pause";
    at("play").setAttribute("aria-pressed", "true");
  });
  at("frame").addEventListener("input", (event) => { state.frame = Number(event.target.value); draw(); });
  at("player").addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.target.tagName === "INPUT" || state.show.frames.length < 2) return; // inputs move by themselves
    event.preventDefault();
    step(by);
  });
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
  document.querySelector(".player").hidden = false;
  radios("families", shows, (s) => s.label, shows[0], setShow);
  setShow(shows[0]);
})();
