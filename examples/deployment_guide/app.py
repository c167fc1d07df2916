import modal
from modalkit.modal_service import ModalService, create_web_endpoints
from modalkit.modal_config import ModalConfig
from modalkit.settings import Settings

from iris import MyAsyncInput, MyInference, MyInput, MyOutput

# Load configuration
Settings.model_config["yaml_file"] = "modalkit.yaml"
modal_config = ModalConfig()

# Create Modal app
app = modal.App(name=modal_config.app_name)

@app.cls(**modal_config.get_app_cls_settings())
class MyApp(ModalService):
    inference_implementation = MyInference
    model_name: str = modal.parameter(default="my_model")
    modal_utils: ModalConfig = modal_config

@app.function(**modal_config.get_handler_settings())
@modal.asgi_app()
def web_endpoints():
    return create_web_endpoints(
        app_cls=MyApp,
        input_model=MyInput,
        output_model=MyOutput
    )

@app.function(**modal_config.get_handler_settings())
def predict(input_data: MyInput):
    return MyApp.sync_call(MyApp)(
        model_name="my_model",
        input_data=input_data
    )

@app.function(**modal_config.get_handler_settings())
def predict_async(input_data: MyAsyncInput):
    return MyApp.async_call(MyApp)(
        model_name="my_model",
        input_data=input_data
    )
