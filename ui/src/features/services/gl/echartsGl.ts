/** The chart library with 3D scatter: a chunk of its own, loaded when the 3D view is first shown. */
import { Scatter3DChart } from "echarts-gl/charts";
import { Grid3DComponent } from "echarts-gl/components";
import { echarts } from "@/viz/echarts";

echarts.use([Scatter3DChart, Grid3DComponent]);

export { echarts };
