{{- define "ampd.name" -}}
{{- if contains "ampd" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-ampd" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "ampd.selector" -}}
app.kubernetes.io/name: ampd-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ampd.labels" -}}
{{ include "ampd.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: ampd
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "ampd.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
